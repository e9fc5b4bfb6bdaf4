// The extension module infotorch._C. Importing it registers the ops, which lie in the same file. Functions on
// NumPy arrays are added here; tensors go through ops/*.cpp, so no torch header is included.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/blas.h"
#include "cpu/leave_out.h"
#include "cpu/member_conv.h"
#include "cpu/member_norm.h"
#include "cpu/plugin_mi.h"
#include "cpu/tile.h"
#include "philox.h"

namespace py = pybind11;

namespace {

namespace cpu = infotorch::cpu;

// Philox4x32-10 of one counter.
py::tuple philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key) {
  const infotorch::Words out = infotorch::philox({{c0, c1, c2, c3}}, key);
  return py::make_tuple(out.word[0], out.word[1], out.word[2], out.word[3]);
}

// Words first ... first + count of a sketch's stream: draw 0 has buckets and signs, 1 the in- and 2 the out-factor.
py::array_t<uint32_t> sketch_words(uint64_t seed, const std::string& name, uint32_t draw, uint64_t first,
                                   int64_t count) {
  const infotorch::Source source = {seed, infotorch::hash_of(name.data(), static_cast<int64_t>(name.size()))};
  py::array_t<uint32_t> all(count);
  for (int64_t k = 0; k < count; ++k)
    all.mutable_at(k) = infotorch::words(source, infotorch::Draw(draw), (first + k) / 4).word[(first + k) % 4];
  return all;
}

// An array of this shape that `fill` writes, while other Python threads run.
template <typename T, typename Fill>
py::array_t<T> filled(std::vector<int64_t> shape, const Fill& fill) {
  py::array_t<T> out(shape);
  {
    T* to = out.mutable_data();
    py::gil_scoped_release released;
    fill(to);
  }
  return out;
}

cpu::Correction correction_of(const std::string& name) {
  if (name == "none") return cpu::Correction::none;
  if (name == "miller_madow") return cpu::Correction::miller_madow;
  if (name == "jackknife") return cpu::Correction::jackknife;
  throw std::invalid_argument("plugin_mi: no correction is named " + name);
}

// Information from counts. infotorch/bounds/theory/information.py checks what it passes on.
template <typename state_t, typename bit_t>
void bind_counts(py::module_& m) {
  using States = py::array_t<state_t, py::array::c_style>;
  using Bits = py::array_t<bit_t, py::array::c_style>;
  const auto runs = [](const States& states, const Bits& bits, int64_t num_states, int64_t num_bits) {
    return cpu::Runs<state_t, bit_t>{states.shape(0), states.shape(1), num_states,
                                     num_bits,        states.data(),   bits.data()};
  };
  const auto def = [&m](const char* name, auto call, auto... more) {
    m.def(name, call, py::arg("states").noconvert(), py::arg("bits").noconvert(), py::arg("num_states"),
          py::arg("num_bits"), more...);
  };
  def(
      "plugin_mi",
      [runs](const States& states, const Bits& bits, int64_t num_states, int64_t num_bits, const std::string& name) {
        const auto of = runs(states, bits, num_states, num_bits);
        const cpu::Correction correction = correction_of(name);
        return filled<double>({of.N}, [&](double* out) { cpu::plugin_mi(of, correction, out); });
      },
      py::arg("correction"));
  def("null_mean", [runs](const States& states, const Bits& bits, int64_t num_states, int64_t num_bits) {
    const auto of = runs(states, bits, num_states, num_bits);
    return filled<double>({of.N}, [&](double* out) { cpu::null_mean(of, out); });
  });
  def("occupied", [runs](const States& states, const Bits& bits, int64_t num_states, int64_t num_bits) {
    const auto of = runs(states, bits, num_states, num_bits);
    return filled<int64_t>({3, of.N}, [&](int64_t* out) { cpu::occupied(of, out); });
  });
}

std::string text(const std::vector<int64_t>& shape) {
  std::string all;
  for (const int64_t size : shape) all += (all.empty() ? "" : ", ") + std::to_string(size);
  return "[" + all + "]";
}

void check_shape(const std::string& where, const char* name, const py::array& array, const std::vector<int64_t>& want) {
  const std::vector<int64_t> got(array.shape(), array.shape() + array.ndim());
  if (got != want)
    throw py::value_error(where + ": " + name + " must be " + text(want) + "; got " + text(got) + ". Match the sizes.");
}

// Positions of a kernel along an axis; none where it doesn't fit.
int64_t positions(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  const int64_t beyond = size + 2 * padding - dilation * (kernel - 1) - 1;
  return beyond < 0 ? 0 : beyond / stride + 1;
}

// The sizes as they are numbered, once they are those of a convolution.
cpu::MemberConv member_conv_shape(const std::string& where, const std::array<int64_t, 16>& s) {
  constexpr int64_t kMost = int64_t{1} << 31;  // no product below overflows
  const auto refuse = [&where, &s](const std::string& must) {
    const std::string got = text(std::vector<int64_t>(s.begin(), s.end()));
    throw py::value_error(where + ": " + must + "; got " + got + ". Pass Geometry.sizes().");
  };
  for (int k = 0; k < 16; ++k) {
    const bool padding = k == 12 || k == 13;
    if (s[k] < (padding ? 0 : 1) || s[k] >= kMost)
      refuse("sizes must be positive, paddings not negative, all below 2^31");
  }
  const cpu::MemberConv shape = {s[0], s[1], s[2],  s[3],  s[4],  s[5],  s[6],  s[7],
                                 s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]};
  if (shape.Ho != positions(shape.H, shape.kh, shape.sh, shape.ph, shape.dh) ||
      shape.Wo != positions(shape.W, shape.kw, shape.sw, shape.pw, shape.dw))
    refuse("Ho and Wo must be the positions of the kernel");
  return shape;
}

// Convolutions of an ensemble, from two arrays into a third.
template <typename scalar_t>
void bind_member_conv(py::module_& m) {
  using Array = py::array_t<scalar_t, py::array::c_style>;
  using Sizes = std::array<int64_t, 16>;
  struct Shapes {
    std::vector<int64_t> x, w, y;
    explicit Shapes(const cpu::MemberConv& s)
        : x{s.E, s.C, s.H, s.W, s.B}, w{s.E, s.O, s.C, s.kh, s.kw}, y{s.E, s.O, s.Ho, s.Wo, s.B} {}
  };
  const auto left = py::arg("left").noconvert(), right = py::arg("right").noconvert(), out = py::arg("out").noconvert();
  m.def(
      "member_conv",
      [](const Sizes& sizes, const Array& x, const Array& w, Array y, bool relu) {
        const cpu::MemberConv shape = member_conv_shape("member_conv", sizes);
        const Shapes want(shape);
        check_shape("member_conv", "left", x, want.x);
        check_shape("member_conv", "right", w, want.w);
        check_shape("member_conv", "out", y, want.y);
        scalar_t* to = y.mutable_data();
        py::gil_scoped_release others_may_run;
        cpu::member_conv(shape, x.data(), w.data(), to, relu);
      },
      py::arg("shape"), left, right, out, py::arg("relu") = false);
  m.def(
      "member_conv_dx",
      [](const Sizes& sizes, const Array& dy, const Array& w, Array dx) {
        const cpu::MemberConv shape = member_conv_shape("member_conv_dx", sizes);
        const Shapes want(shape);
        check_shape("member_conv_dx", "left", dy, want.y);
        check_shape("member_conv_dx", "right", w, want.w);
        check_shape("member_conv_dx", "out", dx, want.x);
        scalar_t* to = dx.mutable_data();
        py::gil_scoped_release others_may_run;
        cpu::member_conv_dx(shape, dy.data(), w.data(), to);
      },
      py::arg("shape"), left, right, out);
  m.def(
      "member_conv_dw",
      [](const Sizes& sizes, const Array& x, const Array& dy, Array dw, const std::optional<Array>& y) {
        const cpu::MemberConv shape = member_conv_shape("member_conv_dw", sizes);
        const Shapes want(shape);
        check_shape("member_conv_dw", "left", x, want.x);
        check_shape("member_conv_dw", "right", dy, want.y);
        check_shape("member_conv_dw", "out", dw, want.w);
        if (y) check_shape("member_conv_dw", "relu", *y, want.y);
        scalar_t* to = dw.mutable_data();
        const scalar_t* mask = y ? y->data() : nullptr;
        py::gil_scoped_release others_may_run;
        cpu::member_conv_dw(shape, x.data(), dy.data(), to, mask);
      },
      py::arg("shape"), left, right, out, py::arg("relu").noconvert() = py::none());
}

// Sets of rows left out of shifted resolvents: infotorch/linalg/resolvent.py has the formulas.
void bind_leave_out(py::module_& m) {
  using Strided = py::array_t<double>;
  using Array = py::array_t<double, py::array::c_style>;
  m.def(
      "leave_out",
      [](const Strided& rows, const Array& D, const Array& H, const Array& rotated, const Array& power,
         const std::optional<Array>& residual, Array solution, Array own, Array norm, Array pivot, Array spans,
         bool first_order) {
        const std::string where = "leave_out";
        if (rows.ndim() != 3 || D.ndim() != 2 || rotated.ndim() != 2 || power.ndim() != 2)
          throw py::value_error(where + ": rows must be [n, b, m], D [m, 2 S], rotated [m, V] and power [m, P]; got " +
                                text({rows.ndim(), D.ndim(), rotated.ndim(), power.ndim()}) + " axes. Give so many.");
        const int64_t n = rows.shape(0), b = rows.shape(1), values = rows.shape(2), S = D.shape(1) / 2,
                      V = rotated.shape(1), P = power.shape(1);
        constexpr int64_t item = sizeof(double);
        check_shape(where, "D", D, {values, 2 * S});
        check_shape(where, "H", H, {values, 2 * S});
        check_shape(where, "rotated", rotated, {values, V});
        check_shape(where, "power", power, {values, P});
        if (residual) check_shape(where, "residual", *residual, {n, b, V});
        check_shape(where, "solution", solution, {values, n, V});
        check_shape(where, "own", own, {n, b, V});
        check_shape(where, "norm", norm, {n, S});
        check_shape(where, "pivot", pivot, {n, S});
        check_shape(where, "spans", spans, {n, P});
        const cpu::LeaveOut of = {values,
                                  n,
                                  b,
                                  V,
                                  S,
                                  P,
                                  first_order,
                                  rows.data(),
                                  rows.strides(0) / item,
                                  rows.strides(1) / item,
                                  rows.strides(2) / item,
                                  D.data(),
                                  H.data(),
                                  rotated.data(),
                                  power.data(),
                                  residual ? residual->data() : nullptr};
        const cpu::Removed to = {solution.mutable_data(), own.mutable_data(), norm.mutable_data(), pivot.mutable_data(),
                                 spans.mutable_data()};
        py::gil_scoped_release others_may_run;
        cpu::leave_out(of, to);
      },
      py::arg("rows").noconvert(), py::arg("D").noconvert(), py::arg("H").noconvert(), py::arg("rotated").noconvert(),
      py::arg("power").noconvert(), py::arg("residual").noconvert(), py::arg("solution").noconvert(),
      py::arg("own").noconvert(), py::arg("norm").noconvert(), py::arg("pivot").noconvert(),
      py::arg("spans").noconvert(), py::kw_only(), py::arg("first_order"));
}

// Batch norms of an ensemble, the channels of all members as rows.
template <typename scalar_t>
void bind_member_norm(py::module_& m) {
  using Array = py::array_t<scalar_t, py::array::c_style>;
  const auto shape_of = [](const std::string& where, const Array& x, double eps, bool relu) {
    if (x.ndim() != 2 || x.shape(1) < 1)
      throw py::value_error(where + ": x must be [rows, size], size > 0; got " +
                            text(std::vector<int64_t>(x.shape(), x.shape() + x.ndim())) + ". Flatten it.");
    return cpu::MemberNorm{x.shape(0), x.shape(1), eps, relu};
  };
  m.def(
      "member_norm",
      [=](const Array& x, const Array& weight, const Array& bias, Array y, Array mean, Array var, double eps,
          bool relu) {
        const cpu::MemberNorm shape = shape_of("member_norm", x, eps, relu);
        check_shape("member_norm", "weight", weight, {shape.rows});
        check_shape("member_norm", "bias", bias, {shape.rows});
        check_shape("member_norm", "y", y, {shape.rows, shape.size});
        check_shape("member_norm", "mean", mean, {shape.rows});
        check_shape("member_norm", "var", var, {shape.rows});
        scalar_t *y_to = y.mutable_data(), *mean_to = mean.mutable_data(), *var_to = var.mutable_data();
        py::gil_scoped_release others_may_run;
        cpu::member_norm(shape, x.data(), weight.data(), bias.data(), y_to, mean_to, var_to);
      },
      py::arg("x").noconvert(), py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("y").noconvert(),
      py::arg("mean").noconvert(), py::arg("var").noconvert(), py::kw_only(), py::arg("eps"), py::arg("relu"));
  m.def(
      "member_norm_dx",
      [=](const Array& x, const Array& weight, const Array& bias, const Array& mean, const Array& var, const Array& dy,
          Array dx, Array dweight, Array dbias, double eps, bool relu) {
        const cpu::MemberNorm shape = shape_of("member_norm_dx", x, eps, relu);
        check_shape("member_norm_dx", "weight", weight, {shape.rows});
        check_shape("member_norm_dx", "bias", bias, {shape.rows});
        check_shape("member_norm_dx", "mean", mean, {shape.rows});
        check_shape("member_norm_dx", "var", var, {shape.rows});
        check_shape("member_norm_dx", "dy", dy, {shape.rows, shape.size});
        check_shape("member_norm_dx", "dx", dx, {shape.rows, shape.size});
        check_shape("member_norm_dx", "dweight", dweight, {shape.rows});
        check_shape("member_norm_dx", "dbias", dbias, {shape.rows});
        scalar_t *dx_to = dx.mutable_data(), *dweight_to = dweight.mutable_data(), *dbias_to = dbias.mutable_data();
        py::gil_scoped_release others_may_run;
        cpu::member_norm_dx(shape, x.data(), weight.data(), bias.data(), mean.data(), var.data(), dy.data(), dx_to,
                            dweight_to, dbias_to);
      },
      py::arg("x").noconvert(), py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("mean").noconvert(),
      py::arg("var").noconvert(), py::arg("dy").noconvert(), py::arg("dx").noconvert(), py::arg("dweight").noconvert(),
      py::arg("dbias").noconvert(), py::kw_only(), py::arg("eps"), py::arg("relu"));
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.attr("build") =
      py::dict(py::arg("cuda_archs") = INFOTORCH_CUDA_ARCHS, py::arg("torch") = INFOTORCH_TORCH,
               py::arg("compiler") = __VERSION__, py::arg("instruction_set") = cpu::instruction_set(),
               py::arg("wide_products") = cpu::has_fast_blas(infotorch::Storage::same) ? "torch's MKL" : "infotorch");
  m.def("philox", &philox, py::arg("c0"), py::arg("c1"), py::arg("c2"), py::arg("c3"), py::arg("key"));
  m.def("sketch_words", &sketch_words, py::arg("seed"), py::arg("name"), py::arg("draw"), py::arg("first"),
        py::arg("count"));
  bind_counts<int32_t, uint8_t>(m);
  bind_counts<int64_t, int64_t>(m);
  bind_leave_out(m);
  bind_member_conv<float>(m);
  bind_member_conv<double>(m);
  bind_member_norm<float>(m);
  bind_member_norm<double>(m);
}
