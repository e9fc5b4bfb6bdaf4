#include "../grads.h"

#include "pair.h"

namespace infotorch {
namespace {

void write_grads(const Tensor& a, const Tensor& b, const PairOptions& options, const PairShape& shape, Tensor& out) {
#ifdef INFOTORCH_CUDA
  // On a GPU a plain product whose result is the answer is torch's, unless it would have to be given widened copies.
  const bool plain = is_plain(a, shape, options) && shape.T > 1 && storage_of(a) == Storage::same;
  if (b.is_cuda() && plain) return batched_matmul_out(transposed(b), a, out);
#endif
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    auto* const to = static_cast<scalar_t*>(out.data_ptr());
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
#ifdef INFOTORCH_CUDA
      if (b.is_cuda()) {
        Gpu gpu("grads", b);
        return gpu.check(cuda::grads(shape, a_side, b_side, to, gpu.stream()));
      }
#endif
      cpu::grads(shape, a_side, b_side, to);
    });
  });
}

Tensor grads(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("grads", a, b, options);
  Tensor out = new_result("grads", b, {shape.N, shape.O, shape.I});
  write_grads(a, b, options, shape, out);
  return out;
}

void grads_out(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
               Tensor out) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("grads", a, b, options);
  check_out("grads", out, b, {shape.N, shape.O, shape.I}, {&a, &b});
  write_grads(a, b, options, shape, out);
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def("grads(Tensor a, Tensor b, bool bias=False, int t_dims=1, int? in_features=None) -> Tensor");
  m.def("grads.out(Tensor a, Tensor b, bool bias, int t_dims, int? in_features, *, Tensor(a!) out) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) {
  m.impl("grads", TORCH_BOX(&infotorch::grads));
  m.impl("grads.out", TORCH_BOX(&infotorch::grads_out));
}
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) {
  m.impl("grads", TORCH_BOX(&infotorch::grads));
  m.impl("grads.out", TORCH_BOX(&infotorch::grads_out));
}
#endif
