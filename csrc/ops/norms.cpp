#include "../norms.h"

#include "pair.h"

namespace infotorch {
namespace {

// The arguments of a call, checked.
struct Call {
  const Tensor &a, &b;
  PairOptions options;
  PairShape shape;
  NormsMethod method;

  Call(const Tensor& a, const Tensor& b, const PairOptions& options, const std::string& name,
       NormsMethod (*choose)(const PairShape&))
      : a(a), b(b), options(options), shape(check_pair("norms", a, b, options)) {
    method = choice<NormsMethod>(
        "norms", "method",
        {{"auto", choose(shape)}, {"gram", NormsMethod::gram}, {"materialize", NormsMethod::materialize}}, name);
  }
};

Tensor norms_cpu(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                 const std::string& method, bool) {
  const Call call(a, b, {bias, t_dims, in_features}, method, cpu::choose_norms_method);
  Tensor out = new_empty(b, {call.shape.N});
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    auto* const to = static_cast<scalar_t*>(out.data_ptr());
    for_pair<scalar_t>(a, b, call.options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::norms(call.method, call.shape, a_side, b_side, to);
    });
  });
  return out;
}

#ifdef INFOTORCH_CUDA
Tensor norms_cuda(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                  const std::string& method, bool tf32) {
  const Call call(a, b, {bias, t_dims, in_features}, method, cuda::choose_norms_method);
  Gpu gpu("norms", b);
  Tensor out = new_empty(b, {call.shape.N});
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    const int64_t partials = cuda::norms_partials(call.method, call.shape, in_features.has_value(), sizeof(scalar_t));
    auto* const partial = gpu.scratch<double>(partials);
    for_pair<scalar_t>(a, b, call.options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      gpu.check(cuda::norms(call.method, call.shape, a_side, b_side, tf32, partial,
                            static_cast<scalar_t*>(out.data_ptr()), gpu.stream()));
    });
  });
  return out;
}
#endif

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "norms(Tensor a, Tensor b, bool bias=False, int t_dims=1, int? in_features=None, str method='auto', "
      "bool tf32=False) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("norms", TORCH_BOX(&infotorch::norms_cpu)); }
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) { m.impl("norms", TORCH_BOX(&infotorch::norms_cuda)); }
#endif
