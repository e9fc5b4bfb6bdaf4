#include "../vjp.h"

#include <algorithm>

#include "formed.h"

namespace infotorch {
namespace {

constexpr int64_t kNarrow = 1 << 16;  // a result so small is too little for one long product to be shared out
constexpr int64_t kDeep = 192;        // positions from which on several short products beat a long one

// to = w[n] b[n, t] for samples n that begin with w's number `at`; contiguous, in the result's dtype.
void scale(const Tensor& b, const Tensor& w, int64_t at, Tensor& to) {
  if (!b.is_cpu()) return multiply_out(b, as_strided(w, {b.size(0), 1, 1}, {1, 0, 0}, at), to);
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    cpu::scale_rows({b.size(0), b.size(1), 0, b.size(2)}, rows_of<scalar_t>(b),
                    static_cast<const scalar_t*>(w.data_ptr()) + at, static_cast<scalar_t*>(to.data_ptr()));
  });
}

// out [K, O, I] by torch's products of rows that are scaled, some samples at a time; w [K, N] contiguous.
void scaled_vjp(const Tensor& a, const Tensor& b, const Tensor& w, const PairShape& s, int64_t K, Tensor& out) {
  const int64_t numbers = s.T * s.O + (storage_of(b) == Storage::same ? 0 : s.T * (s.I + s.O));
  const int64_t step = std::clamp<int64_t>(kFormedBytes / (number_bytes(b) * numbers), 1, s.N);
  const Tensor held = new_empty(b, {step, s.T, s.O});
  for (int64_t n = 0; n < s.N; n += step) {
    const int64_t count = std::min(step, s.N - n);
    const Tensor b_here = to_result_dtype(samples(b, n, count));
    const Tensor rows = as_contiguous(to_result_dtype(samples(a, n, count)));
    for (int64_t k = 0; k < K; ++k) {
      Tensor scaled = samples(held, 0, count), to = as_strided(out, {s.O, s.I}, {s.I, 1}, k * s.O * s.I);
      scale(b_here, w, k * s.N + n, scaled);
      matmul_out(as_strided(held, {s.O, count * s.T}, {1, s.O}), as_strided(rows, {count * s.T, s.I}, {s.I, 1}), n > 0,
                 to);
    }
  }
}

// The same by gradients that are formed by torch's product, and one product of them with all weights.
void formed_vjp(const Tensor& a, const Tensor& b, const Tensor& w, const PairShape& s, int64_t K, Tensor& out) {
  for_formed(a, b, s, 1, [&](const Formed& here, const Tensor& g) {
    const int64_t size = here.rows * s.I;
    Tensor to = as_strided(out, {K, size}, {s.O * s.I, 1}, here.o * s.I);
    matmul_out(as_strided(w, {K, here.count}, {s.N, 1}, here.n), as_strided(g, {here.count, size}, {size, 1}),
               here.n > 0, to);
  });
}

bool scales_on_cpu(const Tensor& a, const PairShape& s, const PairOptions& options, int64_t K) {
  const bool narrow = s.T > 1 && s.O * s.I < kNarrow, deep = s.T >= kDeep && forms_by_product(a, s, options);
  return !narrow && !deep && cpu::choose_vjp_method(s, K) == VjpMethod::scale;
}

// On the CPU.
bool products_are_exact(bool scales, const PairShape& s, int64_t K) {
  if (scales) return product_is_exact(s.N * s.T, s.O, s.I);
  return product_is_exact(s.T, s.O, s.I) && product_is_exact(s.N, K, s.O * s.I);
}

void plain_vjp(bool scales, const Tensor& a, const Tensor& b, const Tensor& w, const PairShape& s, int64_t K,
               Tensor& out) {
  scales ? scaled_vjp(a, b, w, s, K, out) : formed_vjp(a, b, w, s, K, out);
}

#ifdef INFOTORCH_CUDA
void vjp_cuda(const Tensor& a, const Tensor& b, const Tensor& w, const PairOptions& options, const PairShape& s,
              int64_t K, Tensor& out) {
  Gpu gpu("vjp", b);
  const bool widens = storage_of(b) != Storage::same;
  const VjpMethod method = cuda::choose_vjp_method(s, K, widens);
  // Numbers of 16 bits would have to be copied for torch, to be widened.
  if (is_plain(a, s, options) && !widens && K > 0) return plain_vjp(method == VjpMethod::scale, a, b, w, s, K, out);
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    const int64_t bytes = options.in_features ? 0 : cuda::vjp_scratch(method, s, K, sizeof(scalar_t), widens);
    char* const scratch = gpu.scratch<char>(bytes);
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      gpu.check(cuda::vjp(method, s, a_side, b_side, static_cast<const scalar_t*>(w.data_ptr()), K, scratch,
                          static_cast<scalar_t*>(out.data_ptr()), gpu.stream()));
    });
  });
}
#endif

Tensor vjp(const Tensor& a, const Tensor& b, const Tensor& w, bool bias, int64_t t_dims,
           std::optional<int64_t> in_features) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("vjp", a, b, options);
  INFOTORCH_CHECK((w.dim() == 1 || w.dim() == 2) && w.size(w.dim() - 1) == shape.N, "vjp",
                  "w must be [N] or [K, N] with N = " + std::to_string(shape.N), shape_text(w),
                  "Give one weight per sample.");
  const int64_t K = w.dim() == 1 ? 1 : w.size(0);
  const Tensor weights = as_contiguous(beside_pair("vjp", "w", w, b));
  Tensor out = w.dim() == 1 ? new_empty(b, {shape.O, shape.I}) : new_result("vjp", b, {K, shape.O, shape.I});
#ifdef INFOTORCH_CUDA
  if (b.is_cuda()) {
    vjp_cuda(a, b, weights, options, shape, K, out);
    return out;
  }
#endif
  const bool scales = scales_on_cpu(a, shape, options, K);
  const bool by_product = scales ? is_plain(a, shape, options) : forms_by_product(a, shape, options);
  if (by_product && K > 0 && products_are_exact(scales, shape, K)) {
    plain_vjp(scales, a, b, weights, shape, K, out);
    return out;
  }
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::vjp(shape, a_side, b_side, static_cast<const scalar_t*>(weights.data_ptr()), K,
               static_cast<scalar_t*>(out.data_ptr()));
    });
  });
  return out;
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def("vjp(Tensor a, Tensor b, Tensor w, bool bias=False, int t_dims=1, int? in_features=None) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("vjp", TORCH_BOX(&infotorch::vjp)); }
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) { m.impl("vjp", TORCH_BOX(&infotorch::vjp)); }
#endif
