// Squares of numbers transposed in registers.
#pragma once

#include "simd.h"

namespace infotorch::cpu {

// line[k] becomes column k: swaps the off-diagonal halves of every 2s x 2s block, s = 1, 2, ...
template <typename scalar_t, int64_t bytes>
INFOTORCH_INLINE void transpose_lines(typename Lanes<scalar_t, bytes>::type (&line)[bytes / sizeof(scalar_t)]) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  typedef decltype(vector_t{} < vector_t{}) mask_t;
#pragma GCC unroll 4
  for (int64_t s = 1; s < lanes; s *= 2) {
    mask_t low = {}, high = {};
#pragma GCC unroll 16
    for (int64_t k = 0; k < lanes; ++k) {
      low[k] = (k & s) ? lanes + (k ^ s) : k;
      high[k] = (k & s) ? lanes + k : (k ^ s);
    }
#pragma GCC unroll 16
    for (int64_t k = 0; k < lanes; ++k)
      if (!(k & s)) {
        const vector_t x = line[k], y = line[k + s];
        line[k] = __builtin_shuffle(x, y, low);
        line[k + s] = __builtin_shuffle(x, y, high);
      }
  }
}

}  // namespace infotorch::cpu
