// The innermost product, one tile of the result held in registers. tile.cpp compiles it for every instruction set.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// What becomes of a result.
enum class Into {
  place,     // it is written
  streamed,  // it is written past the caches, where it is whole lines of 64 bytes
  squares,   // its square is added
};

// out[r, c] = from[r, c], if there is one, + sum_k y[k, r] x[k, c], r < rows, c < vectors * lanes. Rows of x, y and
// out, and of from as out's, are contiguous and lie `*_stride` numbers apart. With every k, one cache line of `ahead`
// is asked for, `ahead_step` bytes further.
template <typename scalar_t>
using TileKernel = void (*)(const scalar_t* x, int64_t x_stride, const scalar_t* y, int64_t y_stride, int64_t depth,
                            const scalar_t* from, Into into, scalar_t* out, int64_t out_stride, const char* ahead,
                            int64_t ahead_step);

template <typename scalar_t>
struct TileKernels {
  static constexpr int64_t kMaxRows = 14, kVectors = 2;
  int64_t rows;                                 // of the largest tile
  int64_t lanes;                                // numbers in one vector
  TileKernel<scalar_t> of[kMaxRows][kVectors];  // by rows - 1 and vectors - 1
};

// Those of this machine's instruction set.
template <typename scalar_t>
const TileKernels<scalar_t>& tile_kernels();

const char* instruction_set();

int64_t vector_bytes();  // of its registers: 64, 32 or 16

// Whether every core has a second-level cache of 2 MiB, for which larger tiles pay: one answer on one machine.
bool has_large_cache();

}  // namespace infotorch::cpu
