#include "../../csrc/jvp.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void jvp(Call& call) {
  const PairShape shape = call.shape();
  const Array& v = call.array("v");
  const int64_t K = v.size.size() == 2 ? 1 : v.size[0];
  const JvpMethod method = call.option("method") == "apply" ? JvpMethod::apply : JvpMethod::materialize;
  scalar_t* const out = call.result<scalar_t>(shape.N * K);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    const auto* const directions = call.data<scalar_t>("v");
    if (call.device == Device::cpu) return cpu::jvp(method, shape, a, b, directions, K, out);
    const bool widens = b.storage != Storage::same;
    char* const scratch = call.scratch<char>(cuda::jvp_scratch(method, shape, K, sizeof(scalar_t), widens));
    Call::check(cuda::jvp(method, shape, a, b, directions, K, scratch, out, nullptr));
  });
}

const Entry entry("jvp", jvp<float>, jvp<double>);

}  // namespace
}  // namespace infotorch
