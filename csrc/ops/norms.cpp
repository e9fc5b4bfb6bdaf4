#include "../norms.h"

#include "form.h"

namespace infotorch {
namespace {

void norms_by_product(const Tensor& a, const Tensor& b, const PairShape& s, Tensor& out) {
  const int64_t area = s.O * s.I, step = std::clamp<int64_t>(kFormedBytes / (number_bytes(b) * area), 1, s.N);
  Tensor formed = new_empty(b, {step, s.O, s.I});
  for (int64_t n = 0; n < s.N; n += step) {
    const int64_t count = std::min(step, s.N - n);
    Tensor g = samples(formed, 0, count);
    batched_matmul_out(transposed(samples(b, n, count)), samples(a, n, count), g);
    for_dtype(b.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      cpu::squared_norms(count, area, static_cast<const scalar_t*>(g.data_ptr()),
                         static_cast<scalar_t*>(out.data_ptr()) + n);
    });
  }
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
  if (chosen == NormsMethod::materialize && forms_by_product(a, shape, options) &&
      shape.O * shape.I * number_bytes(b) <= kFormedBytes) {
    norms_by_product(a, b, shape, out);
    return out;
  }
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
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
