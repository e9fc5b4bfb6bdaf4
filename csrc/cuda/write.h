// How a block's tile of sums gets to memory.
//
//   write_tile<P>(acc, {rows, cols}, place, out)      out [rows, cols] = the tile at `place`, what lies outside left
//   out
#pragma once

#include "product.h"

namespace infotorch::cuda {

struct Extent {
  int64_t rows, cols;
};

// How many sums of a thread, from a multiple of it on, are neighbours in a row.
template <typename Math, typename = void>
constexpr int kRun = 2;
template <typename Math>
constexpr int kRun<Math, std::void_t<decltype(Math::kColVector)>> = Math::kColVector;

// Of the largest edge and the smallest, that whose tiles of a matrix are less work.
inline int cheaper_edge(int64_t rows, int64_t cols, int64_t bytes) {
  const int large = most_edge(bytes);
  return tiling(rows, cols, 32).work() < tiling(rows, cols, large).work() ? 32 : large;
}

// Calls body(Product) with that edge.
template <typename stored_t, Along kAlong, typename Body>
const char* with_edge(int64_t rows, int64_t cols, const Body& body) {
  if (cheaper_edge(rows, cols, sizeof(stored_t)) == 32) return body(Product<stored_t, false, 32, kAlong>());
  return body(Product<stored_t, false, most_edge(sizeof(stored_t)), kAlong>());
}

// blockIdx.x for what follows a product, as thread_anew is threadIdx.x: no register keeps it through the product.
__device__ __forceinline__ unsigned block_anew() {
  unsigned block = blockIdx.x;
#ifndef INFOTORCH_EMULATE
  asm volatile("" : "+r"(block));
#endif
  return block;
}

template <typename P>
__device__ __forceinline__ void write_tile(const typename P::Accumulator& acc, const Extent& size,
                                           const Tiling::Place& tile, typename P::scalar_t* out) {
  using scalar_t = typename P::scalar_t;
  constexpr int run = kRun<typename P::Math>;
  struct alignas(run * sizeof(scalar_t)) Run {
    scalar_t x[run];
  };
  const bool whole = size.cols % run == 0 && reinterpret_cast<uintptr_t>(out) % sizeof(Run) == 0;
#pragma unroll
  for (int k = 0; k < P::kCount; k += run) {
    const int64_t row = tile.row * P::kEdge + P::row(k), col = tile.col * P::kEdge + P::col(k);
    if (row >= size.rows || col >= size.cols) continue;
    scalar_t* const to = out + row * size.cols + col;
    Run some;
#pragma unroll
    for (int j = 0; j < run; ++j) some.x[j] = acc.value[k + j];
    if (whole) {
      *reinterpret_cast<Run*>(to) = some;
    } else {
#pragma unroll
      for (int j = 0; j < run; ++j)
        if (col + j < size.cols) to[j] = some.x[j];
    }
  }
}

}  // namespace infotorch::cuda
