#include "../../csrc/fisher.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void fisher(Call& call) {
  const PairShape shape = call.shape();
  const FisherForm form = call.option("form") == "full" ? FisherForm::full : FisherForm::diagonal;
  const int64_t area = shape.O * shape.I;
  scalar_t* const out = call.result<scalar_t>(form == FisherForm::full ? area * area : area);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) { cpu::fisher(form, shape, a, b, out); });
}

const Entry entry("fisher", fisher<float>, fisher<double>);

}  // namespace
}  // namespace infotorch
