// Sums over the threads of a block, and over the blocks that shared a result: in one order, whatever ran first.
//
//   block_sum<kThreads>(x, cells)    every thread gets the sum of all x; cells: kThreads / 32 numbers of shared memory
//   sum_splits(...)                  a kernel: out[r] = sum of its partials, left to right
#pragma once

#include "launch.h"
#include "mma.h"

namespace infotorch::cuda {

template <typename scalar_t>
__device__ __forceinline__ scalar_t warp_sum(scalar_t x) {
#pragma unroll
  for (int bit = kWarp / 2; bit > 0; bit /= 2) x += __shfl_xor_sync(~0u, x, bit);
  return x;
}

// Every thread must call it; `cells` may be used again by what follows, after one more barrier.
template <int kThreads, typename scalar_t>
__device__ __forceinline__ scalar_t block_sum(scalar_t x, scalar_t* cells) {
  x = warp_sum(x);
  if constexpr (kThreads == kWarp) return x;
  if (threadIdx.x % kWarp == 0) cells[threadIdx.x / kWarp] = x;
  __syncthreads();
  scalar_t total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) total += cells[w];
  return total;
}

}  // namespace infotorch::cuda
