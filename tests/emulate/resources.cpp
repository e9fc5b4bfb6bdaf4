// What kernels were launched with so far, for resources.py: of each, [its place in the program, threads of a block,
// bytes of its dynamic shared memory].
#include <cuda_runtime.h>

#include "driver.h"

extern "C" const char __executable_start;

namespace infotorch {
namespace {

void launches(Call& call) {
  auto* out = call.result<int64_t>(3 * emulate::asked.size());
  for (const auto& [kernel, most] : emulate::asked) {
    *out++ = static_cast<const char*>(kernel) - &__executable_start;
    *out++ = most.threads;
    *out++ = static_cast<int64_t>(most.shared_bytes);
  }
}

const Entry entry("launches", launches, launches);

}  // namespace
}  // namespace infotorch
