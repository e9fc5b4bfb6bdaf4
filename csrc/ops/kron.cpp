#include "../kron.h"

#include <tuple>

#include "pair.h"

namespace infotorch {
namespace {

std::tuple<Tensor, Tensor> kron(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims,
                                std::optional<int64_t> in_features, const std::string& split) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("kron", a, b, options);
  const auto chosen =
      choice<KronSplit>("kron", "split", {{"expand", KronSplit::expand}, {"reduce", KronSplit::reduce}}, split);
  Tensor A = new_result("kron", b, {shape.I, shape.I}), B = new_result("kron", b, {shape.O, shape.O});
  for_dtype(B.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    auto *const to_A = static_cast<scalar_t*>(A.data_ptr()), *const to_B = static_cast<scalar_t*>(B.data_ptr());
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
#ifdef INFOTORCH_CUDA
      if (b.is_cuda()) {
        Gpu gpu("kron", b);
        char* const scratch = gpu.scratch<char>(cuda::kron_scratch(chosen, shape, sizeof(scalar_t)));
        return gpu.check(cuda::kron(chosen, shape, a_side, b_side, scratch, to_A, to_B, gpu.stream()));
      }
#endif
      cpu::kron(chosen, shape, a_side, b_side, to_A, to_B);
    });
  });
  return {A, B};
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "kron(Tensor a, Tensor b, bool bias=False, int t_dims=1, int? in_features=None, str split='expand') -> (Tensor, "
      "Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("kron", TORCH_BOX(&infotorch::kron)); }
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) { m.impl("kron", TORCH_BOX(&infotorch::kron)); }
#endif
