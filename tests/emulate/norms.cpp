#include "../../csrc/norms.h"

#include <type_traits>

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void norms(Call& call) {
  const PairShape shape = call.shape();
  const NormsMethod method = call.option("method") == "gram" ? NormsMethod::gram : NormsMethod::materialize;
  scalar_t* const out = call.result<scalar_t>(shape.N);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    if (call.device == Device::cpu) return cpu::norms(method, shape, a, b, out);
    const bool one_hot = std::is_same_v<std::decay_t<decltype(a)>, Ids>;
    double* const partial = call.scratch<double>(cuda::norms_partials(method, shape, one_hot, sizeof(scalar_t)));
    Call::check(cuda::norms(method, shape, a, b, call.number("tf32") != 0, partial, out, nullptr));
  });
}

const Entry entry("norms", norms<float>, norms<double>);

}  // namespace
}  // namespace infotorch
