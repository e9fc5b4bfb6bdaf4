#include "../../csrc/vjp.h"

#include "driver.h"

namespace infotorch {
namespace {

constexpr VjpMethod kMethods[] = {VjpMethod::scale, VjpMethod::materialize, VjpMethod::fold};  // in turns

template <typename scalar_t>
void vjp(Call& call) {
  const PairShape shape = call.shape();
  const Array& w = call.array("w");
  const int64_t K = w.size.size() == 1 ? 1 : w.size[0];
  scalar_t* const out = call.result<scalar_t>(K * shape.O * shape.I);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    const auto* const weights = call.data<scalar_t>("w");
    if (call.device == Device::cpu) return cpu::vjp(shape, a, b, weights, K, out);
    const VjpMethod method = kMethods[call.seed % 3];
    char* const scratch =
        call.scratch<char>(cuda::vjp_scratch(method, shape, K, sizeof(scalar_t), b.storage != Storage::same));
    Call::check(cuda::vjp(method, shape, a, b, weights, K, scratch, out, nullptr));
  });
}

const Entry entry("vjp", vjp<float>, vjp<double>);

}  // namespace
}  // namespace infotorch
