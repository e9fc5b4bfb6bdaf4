#include "../../csrc/grads.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void grads(Call& call) {
  const PairShape shape = call.shape();
  scalar_t* const out = call.result<scalar_t>(shape.N * shape.O * shape.I);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    if (call.device == Device::cpu) return cpu::grads(shape, a, b, out);
    Call::check(cuda::grads(shape, a, b, out, nullptr));
  });
}

const Entry entry("grads", grads<float>, grads<double>);

}  // namespace
}  // namespace infotorch
