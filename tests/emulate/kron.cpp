#include "../../csrc/kron.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void kron(Call& call) {
  const PairShape shape = call.shape();
  const KronSplit split = call.option("split") == "reduce" ? KronSplit::reduce : KronSplit::expand;
  scalar_t* const A = call.result<scalar_t>(shape.I * shape.I);
  scalar_t* const B = call.result<scalar_t>(shape.O * shape.O);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    if (call.device == Device::cpu) return cpu::kron(split, shape, a, b, A, B);
    char* const scratch = call.scratch<char>(cuda::kron_scratch(split, shape, sizeof(scalar_t)));
    Call::check(cuda::kron(split, shape, a, b, scratch, A, B, nullptr));
  });
}

const Entry entry("kron", kron<float>, kron<double>);

}  // namespace
}  // namespace infotorch
