#include "../../csrc/project.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void project(Call& call) {
  const PairShape shape = call.shape();
  const std::string& name = call.option("name");
  const Source source = {std::stoull(call.option("seed")), hash_of(name.data(), static_cast<int64_t>(name.size()))};
  const ProjectKind kind = call.option("kind") == "sjlt" ? ProjectKind::sjlt : ProjectKind::kron;
  const Sketch sketch = {kind, call.number("k"), source};
  scalar_t* const out = call.result<scalar_t>(shape.N * sketch.k);
  call.for_pair<scalar_t>([&](const auto& a, const auto& b) {
    if (call.device == Device::cpu) return cpu::project(sketch, shape, a, b, out);
    char* const scratch = call.scratch<char>(cuda::project_bytes<scalar_t>(sketch, shape, a));
    Call::check(cuda::project(sketch, shape, a, b, scratch, out, nullptr));
  });
}

const driver::Entry project_entry("project", project<float>, project<double>);

}  // namespace
}  // namespace infotorch
