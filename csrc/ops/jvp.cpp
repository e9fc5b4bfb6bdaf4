#include "../jvp.h"

#include "pair.h"

namespace infotorch {
namespace {

Tensor jvp_cpu(const Tensor& a, const Tensor& b, const Tensor& v, bool bias, int64_t t_dims,
               std::optional<int64_t> in_features, const std::string& method) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("jvp", a, b, options);
  const int64_t axes = v.dim();
  INFOTORCH_CHECK((axes == 2 || axes == 3) && v.size(axes - 2) == shape.O && v.size(axes - 1) == shape.I, "jvp",
                  "v must be [O, I] or [K, O, I] with O = " + std::to_string(shape.O) +
                      " and I = " + std::to_string(shape.I) + (bias ? ", the bias's included" : ""),
                  shape_text(v), "Shape it as the weight.");
  check_method("jvp", {"auto", "apply", "materialize"}, method);
  const int64_t K = axes == 2 ? 1 : v.size(0);
  const JvpMethod chosen = method == "auto"    ? cpu::choose_jvp_method(shape, K)
                           : method == "apply" ? JvpMethod::apply
                                               : JvpMethod::materialize;
  const Tensor directions = torch::stable::contiguous(beside_pair("jvp", "v", v, b));
  Tensor out = axes == 2 ? new_empty(b, {shape.N}) : new_empty(b, {shape.N, K});
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::jvp(chosen, shape, a_side, b_side, static_cast<const scalar_t*>(directions.data_ptr()), K,
               static_cast<scalar_t*>(out.data_ptr()));
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
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("jvp", TORCH_BOX(&infotorch::jvp_cpu)); }
