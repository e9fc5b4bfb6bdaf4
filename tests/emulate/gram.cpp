#include "../../csrc/gram.h"

#include <type_traits>

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void gram(Call& call) {
  const bool symmetric = !call.has("a2");
  const std::string a2_name = symmetric ? "a" : "a2", b2_name = symmetric ? "b" : "b2";
  const PairShape x = call.shape(), y = call.shape(a2_name, b2_name);
  const GramMethod method = call.option("method") == "gram" ? GramMethod::gram : GramMethod::materialize;
  scalar_t* const out = call.result<scalar_t>(x.N * y.N);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    using Side = std::decay_t<decltype(a)>;
    const auto second = [&](const auto& a2, const auto& b2) {
      if constexpr (std::is_same_v<Side, std::decay_t<decltype(a2)>>) {  // both are indices, or neither
        const Samples<scalar_t, Side> left = {x, a, b}, right = {y, a2, b2};
        if (call.device == Device::cpu) return cpu::gram(method, left, right, symmetric, out);
        const bool one_hot = std::is_same_v<Side, Ids>;
        char* const scratch =
            call.scratch<char>(cuda::gram_scratch(method, x, y, symmetric, one_hot, sizeof(scalar_t)));
        Call::check(cuda::gram(method, left, right, symmetric, call.number("tf32") != 0, scratch, out, nullptr));
      }
    };
    call.for_pair<scalar_t>(second, a2_name, b2_name);
  });
}

const Entry entry("gram", gram<float>, gram<double>);

}  // namespace
}  // namespace infotorch
