#include "../../csrc/vjp.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void vjp(Call& call) {
  const PairShape shape = call.shape();
  const Array& w = call.array("w");
  const int64_t K = w.size.size() == 1 ? 1 : w.size[0];
  scalar_t* const out = call.result<scalar_t>(K * shape.O * shape.I);
  call.for_pair<scalar_t>(
      [&](const auto& a, const auto& b) { cpu::vjp(shape, a, b, call.data<scalar_t>("w"), K, out); });
}

const Entry entry("vjp", vjp<float>, vjp<double>);

}  // namespace
}  // namespace infotorch
