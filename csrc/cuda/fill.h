// Results that hold nothing but zeros: sums of no terms, and what the kernels of one-hot inputs only add to.
#pragma once

#include <algorithm>

#include "launch.h"

namespace infotorch::cuda {

constexpr int kFillThreads = 256;

// Block p zeroes every gridDim.x-th piece of out from p on.
template <typename scalar_t>
__global__ void __launch_bounds__(kFillThreads) zero_kernel(int64_t count, scalar_t* out) {
  int64_t k = static_cast<int64_t>(blockIdx.x) * kFillThreads + threadIdx.x;
  for (; k < count; k += static_cast<int64_t>(gridDim.x) * kFillThreads) out[k] = 0;
}

template <typename scalar_t>
const char* zero(int64_t count, scalar_t* out, void* stream) {
  const int64_t blocks = std::min<int64_t>(1 << 16, (count + kFillThreads - 1) / kFillThreads);
  return launch(&zero_kernel<scalar_t>, blocks, kFillThreads, 0, stream, count, out);
}

}  // namespace infotorch::cuda
