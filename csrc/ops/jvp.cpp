#include "../jvp.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "pair.h"

namespace infotorch {
namespace {

constexpr int64_t kNarrow = 64;        // features, up to which own products with v are faster
constexpr int64_t kProduct = 1 << 20;  // numbers of a product of rows that are dotted while they are in a cache

// Whether the rows of all samples lie as those of one matrix.
bool is_matrix(const Tensor& x) { return x.stride(2) == 1 && x.stride(0) == x.size(1) * x.stride(1); }

// Whether v [O, I] or [K, O, I] lies as [K, I, O] does: as an embedding's own weight, turned.
bool is_turned(const Tensor& v) {
  const int64_t axes = v.dim(), O = v.size(axes - 2), I = v.size(axes - 1);
  return v.stride(axes - 2) == 1 && v.stride(axes - 1) == O && (axes == 2 || v.stride(0) == O * I);
}

// out [N, K] by torch's products of rows of the side that takes less of them with v, and dot products with rows of the
// other; v [K, O, I] contiguous.
template <typename scalar_t>
void apply(const Tensor& a, const Tensor& b, const Tensor& v, const PairShape& s, int64_t K, scalar_t* out) {
  const bool to_a = s.O <= s.I;
  const Tensor &taking = to_a ? a : b, &other = to_a ? b : a;
  const int64_t C = taking.size(2), D = other.size(2), positions = s.N * s.T;
  const int64_t step = std::clamp<int64_t>(kProduct / D, 1, positions);
  const Tensor held = new_empty(v, {step, D});
  const Rows<scalar_t> factors = stacked(rows_of<scalar_t>(other), 0, s.N);
  std::vector<double> dots(step), total(s.N * K);
  for (int64_t t = 0; t < positions; t += step) {
    const int64_t rows = std::min(step, positions - t);
    const Tensor x = as_strided(taking, {rows, C}, {taking.stride(1), 1}, t * taking.stride(1));
    Tensor z = as_strided(held, {rows, D}, {D, 1});
    for (int64_t k = 0; k < K; ++k) {
      matmul_out(x, as_strided(v, {C, D}, {to_a ? 1 : D, to_a ? C : 1}, k * C * D), 0, z);
      cpu::row_dots(static_cast<const scalar_t*>(z.data_ptr()), factors, t, rows, dots.data());
      for (int64_t r = 0; r < rows; ++r) total[(t + r) / s.T * K + k] += dots[r];
    }
  }
  std::copy(total.begin(), total.end(), out);
}

// Whether that is the faster way, on a CPU. BLAS adds up results with short edges one term after the other on some
// processors, which narrow layers are spared too.
bool applies_by_product(const Tensor& a, const Tensor& b, const PairShape& s, const PairOptions& options) {
  return is_plain(a, s, options) && storage_of(a) == Storage::same && std::min(s.I, s.O) > kNarrow &&
         is_matrix(s.O <= s.I ? a : b);
}

bool is_applied_by_blas(const Tensor& b, const PairShape& s) {
  bool by_blas = false;
  if (!b.is_cpu()) return by_blas;
  for_dtype(b.scalar_type(), [&](auto zero) { by_blas = cpu::is_applied_by_blas(s, rows_of<decltype(zero)>(b)); });
  return by_blas;
}

JvpMethod choose_method(const PairShape& s, int64_t K, [[maybe_unused]] const Tensor& b, bool by_blas) {
#ifdef INFOTORCH_CUDA
  if (b.is_cuda()) return cuda::choose_jvp_method(s, K, storage_of(b) != Storage::same);
#endif
  return cpu::choose_jvp_method(s, K, by_blas);
}

#ifdef INFOTORCH_CUDA
// v [K, O, I] contiguous -> out [N, K].
void jvp_cuda(JvpMethod method, const Tensor& a, const Tensor& b, const Tensor& v, const PairOptions& options,
              const PairShape& s, int64_t K, Tensor& out) {
  Gpu gpu("jvp", b);
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    const bool widens = storage_of(b) != Storage::same;
    char* const scratch = gpu.scratch<char>(cuda::jvp_scratch(method, s, K, sizeof(scalar_t), widens));
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      gpu.check(cuda::jvp(method, s, a_side, b_side, static_cast<const scalar_t*>(v.data_ptr()), K, scratch,
                          static_cast<scalar_t*>(out.data_ptr()), gpu.stream()));
    });
  });
}
#endif

Tensor jvp(const Tensor& a, const Tensor& b, const Tensor& v, bool bias, int64_t t_dims,
           std::optional<int64_t> in_features, const std::string& method) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("jvp", a, b, options);
  const int64_t axes = v.dim();
  INFOTORCH_CHECK((axes == 2 || axes == 3) && v.size(axes - 2) == shape.O && v.size(axes - 1) == shape.I, "jvp",
                  "v must be [O, I] or [K, O, I] with O = " + std::to_string(shape.O) +
                      " and I = " + std::to_string(shape.I) + (bias ? ", the bias's included" : ""),
                  shape_text(v), "Shape it as the weight.");
  const int64_t K = axes == 2 ? 1 : v.size(0);
  const bool by_blas = is_applied_by_blas(b, shape);
  const auto chosen = choice<JvpMethod>("jvp", "method",
                                        {{"auto", choose_method(shape, K, b, by_blas)},
                                         {"apply", JvpMethod::apply},
                                         {"materialize", JvpMethod::materialize}},
                                        method);
  const Tensor beside = beside_pair("jvp", "v", v, b);
  const bool turned = in_features && b.is_cpu() && is_turned(beside);
  const Tensor directions = turned ? beside : as_contiguous(beside);
  Tensor out = axes == 2 ? new_empty(b, {shape.N}) : new_result("jvp", b, {shape.N, K});
#ifdef INFOTORCH_CUDA
  if (b.is_cuda()) {
    jvp_cuda(chosen, a, b, directions, options, shape, K, out);
    return out;
  }
#endif
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    auto* const to = static_cast<scalar_t*>(out.data_ptr());
    const bool by_product = !by_blas && applies_by_product(a, b, shape, options);
    if (chosen == JvpMethod::apply && K > 0 && by_product) return apply<scalar_t>(a, b, directions, shape, K, to);
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      const auto* const from = static_cast<const scalar_t*>(directions.data_ptr());
      if constexpr (std::is_same_v<std::decay_t<decltype(a_side)>, Ids>)
        cpu::jvp(chosen, shape, a_side, b_side, from, K, to, turned);
      else
        cpu::jvp(chosen, shape, a_side, b_side, from, K, to);
    });
  });
  return out;
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "jvp(Tensor a, Tensor b, Tensor v, bool bias=False, int t_dims=1, int? in_features=None, str method='auto') -> "
      "Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("jvp", TORCH_BOX(&infotorch::jvp)); }
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) { m.impl("jvp", TORCH_BOX(&infotorch::jvp)); }
#endif
