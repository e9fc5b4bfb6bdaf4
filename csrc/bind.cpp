// The extension module infotorch._C. Importing it registers the ops, which lie in the same file. Functions on
// NumPy arrays are added here; tensors go through ops/*.cpp, so no torch header is included.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/member_conv.h"
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

// Information from counts. infotorch/bounds/information.py checks what it passes on.
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
  using Kernel = void (*)(const cpu::MemberConv&, const scalar_t*, const scalar_t*, scalar_t*);
  using Shapes = std::array<std::vector<int64_t>, 3>;  // of left, right and out
  const auto def = [&m](const std::string& name, Kernel kernel, const auto& shapes) {
    m.def(
        name.c_str(),
        [name, kernel, shapes](const std::array<int64_t, 16>& sizes, const Array& left, const Array& right, Array out) {
          const cpu::MemberConv shape = member_conv_shape(name, sizes);
          const Shapes want = shapes(shape);
          check_shape(name, "left", left, want[0]);
          check_shape(name, "right", right, want[1]);
          check_shape(name, "out", out, want[2]);
          scalar_t* to = out.mutable_data();
          py::gil_scoped_release others_may_run;
          kernel(shape, left.data(), right.data(), to);
        },
        py::arg("shape"), py::arg("left").noconvert(), py::arg("right").noconvert(), py::arg("out").noconvert());
  };
  const auto x = [](const cpu::MemberConv& s) { return std::vector<int64_t>{s.E, s.C, s.H, s.W, s.B}; };
  const auto w = [](const cpu::MemberConv& s) { return std::vector<int64_t>{s.E, s.O, s.C, s.kh, s.kw}; };
  const auto y = [](const cpu::MemberConv& s) { return std::vector<int64_t>{s.E, s.O, s.Ho, s.Wo, s.B}; };
  def("member_conv", cpu::member_conv<scalar_t>, [=](const auto& s) { return Shapes{x(s), w(s), y(s)}; });
  def("member_conv_dx", cpu::member_conv_dx<scalar_t>, [=](const auto& s) { return Shapes{y(s), w(s), x(s)}; });
  def("member_conv_dw", cpu::member_conv_dw<scalar_t>, [=](const auto& s) { return Shapes{x(s), y(s), w(s)}; });
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.attr("build") =
      py::dict(py::arg("cuda_archs") = INFOTORCH_CUDA_ARCHS, py::arg("torch") = INFOTORCH_TORCH,
               py::arg("compiler") = __VERSION__, py::arg("instruction_set") = infotorch::cpu::instruction_set());
  m.def("philox", &philox, py::arg("c0"), py::arg("c1"), py::arg("c2"), py::arg("c3"), py::arg("key"));
  m.def("sketch_words", &sketch_words, py::arg("seed"), py::arg("name"), py::arg("draw"), py::arg("first"),
        py::arg("count"));
  bind_counts<int32_t, uint8_t>(m);
  bind_counts<int64_t, int64_t>(m);
  bind_member_conv<float>(m);
  bind_member_conv<double>(m);
}
