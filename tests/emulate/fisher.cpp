#include "../../csrc/fisher.h"

#include <type_traits>

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void fisher(Call& call) {
  const PairShape shape = call.shape();
  const FisherForm form = call.option("form") == "full" ? FisherForm::full : FisherForm::diagonal;
  const int64_t area = shape.O * shape.I;
  scalar_t* const out = call.result<scalar_t>(form == FisherForm::full ? area * area : area);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    if (call.device == Device::cpu) return cpu::fisher(form, shape, a, b, out);
    const bool one_hot = std::is_same_v<std::decay_t<decltype(a)>, Ids>;
    char* const scratch = call.scratch<char>(cuda::fisher_scratch(form, shape, sizeof(scalar_t), one_hot));
    Call::check(cuda::fisher(form, shape, a, b, scratch, out, nullptr));
  });
}

const Entry entry("fisher", fisher<float>, fisher<double>);

}  // namespace
}  // namespace infotorch
