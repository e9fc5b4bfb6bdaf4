#include "../vjp.h"

#include <algorithm>

#include "pair.h"

namespace infotorch {
namespace {

#ifdef INFOTORCH_CUDA
constexpr int64_t kHeldBytes = int64_t{16} << 20;   // of gradients or scaled rows
constexpr int64_t kHeldSamples = int64_t{1} << 15;  // a product may add so many up in their own precision

int64_t number_bytes(const Tensor& x) { return x.scalar_type() == ScalarType::Double ? 8 : 4; }

Tensor samples(const Tensor& x, int64_t n, int64_t count) {  // x[n : n + count] of three axes
  return as_strided(x, {count, x.size(1), x.size(2)}, {x.stride(0), x.stride(1), x.stride(2)}, n * x.stride(0));
}

Tensor columns(const Tensor& x, int64_t c, int64_t count) {  // x[:, :, c : c + count]
  return as_strided(x, {x.size(0), x.size(1), count}, {x.stride(0), x.stride(1), x.stride(2)}, c * x.stride(2));
}

// out [K, O, I] by torch's products: gradients, or rows of large ones, of some samples at a time, and theirs with all
// weights; w [K, N] contiguous.
void formed_vjp(const Tensor& a, const Tensor& b, const Tensor& w, const PairShape& s, int64_t K, Tensor& out) {
  const int64_t most = kHeldBytes / number_bytes(b), rows = std::clamp<int64_t>(most / s.I, 1, s.O);
  const int64_t step = std::clamp<int64_t>(most / (rows * s.I), 1, std::min(s.N, kHeldSamples));
  const Tensor held = new_empty(b, {step * rows * s.I});
  for (int64_t o = 0; o < s.O; o += rows)
    for (int64_t n = 0; n < s.N; n += step) {
      const int64_t count = std::min(step, s.N - n), tall = std::min(rows, s.O - o), size = tall * s.I;
      Tensor g = as_strided(held, {count, tall, s.I}, {size, s.I, 1});
      batched_matmul_out(transposed(columns(samples(b, n, count), o, tall)), samples(a, n, count), g);
      Tensor to = as_strided(out, {K, size}, {s.O * s.I, 1}, o * s.I);
      matmul_out(as_strided(w, {K, count}, {s.N, 1}, n), as_strided(held, {count, size}, {size, 1}), n > 0, to);
    }
}

// The same by torch's products of rows that are scaled, some samples at a time.
void scaled_vjp(const Tensor& a, const Tensor& b, const Tensor& w, const PairShape& s, int64_t K, Tensor& out) {
  const int64_t step = std::clamp<int64_t>(kHeldBytes / (number_bytes(b) * s.T * s.O), 1, s.N);
  const Tensor held = new_empty(b, {step, s.T, s.O});
  for (int64_t n = 0; n < s.N; n += step) {
    const int64_t count = std::min(step, s.N - n);
    const Tensor b_here = samples(b, n, count), rows = as_contiguous(samples(a, n, count));
    for (int64_t k = 0; k < K; ++k) {
      Tensor scaled = samples(held, 0, count), to = as_strided(out, {s.O, s.I}, {s.I, 1}, k * s.O * s.I);
      multiply_out(b_here, as_strided(w, {count, 1, 1}, {1, 0, 0}, k * s.N + n), scaled);
      matmul_out(as_strided(held, {s.O, count * s.T}, {1, s.O}), as_strided(rows, {count * s.T, s.I}, {s.I, 1}), n > 0,
                 to);
    }
  }
}

void vjp_cuda(const Tensor& a, const Tensor& b, const Tensor& w, const PairOptions& options, const PairShape& s,
              int64_t K, Tensor& out) {
  Gpu gpu("vjp", b);
  const bool widens = storage_of(b) != Storage::same;
  const VjpMethod method = cuda::choose_vjp_method(s, K, widens);
  // Numbers of 16 bits would have to be copied for torch, to be widened.
  if (is_plain(a, s, options) && !widens && K > 0)
    return (method == VjpMethod::scale ? scaled_vjp : formed_vjp)(a, b, w, s, K, out);
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
