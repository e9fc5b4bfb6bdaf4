#include "../vjp.h"

#include "pair.h"

namespace infotorch {
namespace {

Tensor vjp_cpu(const Tensor& a, const Tensor& b, const Tensor& w, bool bias, int64_t t_dims,
               std::optional<int64_t> in_features) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("vjp", a, b, options);
  INFOTORCH_CHECK((w.dim() == 1 || w.dim() == 2) && w.size(w.dim() - 1) == shape.N, "vjp",
                  "w must be [N] or [K, N] with N = " + std::to_string(shape.N), shape_text(w),
                  "Give one weight per sample.");
  INFOTORCH_CHECK(w.scalar_type() == b.scalar_type() && w.is_cpu(), "vjp", "w must be of b's dtype and device",
                  dtype_text(w), "Convert with w.to(b).");
  const int64_t K = w.dim() == 1 ? 1 : w.size(0);
  const Tensor weights = torch::stable::contiguous(w);
  Tensor out = w.dim() == 1 ? new_empty(b, {shape.O, shape.I}) : new_empty(b, {K, shape.O, shape.I});
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
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("vjp", TORCH_BOX(&infotorch::vjp_cpu)); }
