#include "../norms.h"

#include "formed.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void norms_by_product(const Tensor& a, const Tensor& b, const PairShape& s, scalar_t* out) {
  for_formed<scalar_t>(a, b, s, 1, [&](const Formed& here, const scalar_t* g) {
    cpu::squared_norms(here.count, here.rows * s.I, g, here.o > 0, out + here.n);
  });
}

Tensor norms_cpu(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                 const std::string& method) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("norms", a, b, options);
  check_method("norms", {"auto", "gram", "materialize"}, method);
  const NormsMethod chosen = method == "auto"   ? cpu::choose_norms_method(shape)
                             : method == "gram" ? NormsMethod::gram
                                                : NormsMethod::materialize;
  Tensor out = new_empty(b, {shape.N});
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    if (chosen == NormsMethod::materialize && forms_by_product(a, shape, options))
      return norms_by_product(a, b, shape, static_cast<scalar_t*>(out.data_ptr()));
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::norms(chosen, shape, a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
    });
  });
  return out;
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def("norms(Tensor a, Tensor b, bool bias=False, int t_dims=1, int? in_features=None, str method='auto') -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("norms", TORCH_BOX(&infotorch::norms_cpu)); }
