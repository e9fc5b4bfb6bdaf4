// Sums over the numbers of a row, and their place in it, with classes in the lanes.
#pragma once

#include "limit_row.h"
#include "simd.h"

namespace infotorch::cpu {

template <typename scalar_t>
using Mask = decltype(Vector<scalar_t>{} < Vector<scalar_t>{});

template <typename scalar_t>
using Place = std::decay_t<decltype(Mask<scalar_t>{}[0])>;  // an integer of scalar_t's size

// 0, 1, 2, ... in the lanes.
template <typename scalar_t>
INFOTORCH_INLINE Mask<scalar_t> places() {
  Mask<scalar_t> lane = {};
#pragma GCC unroll 16
  for (int64_t l = 0; l < kLanes<scalar_t>; ++l) lane[l] = l;
  return lane;
}

// Calls body(c, sum) for every vector of the row and adds the lanes of each of `count` sums.
template <int64_t count, typename scalar_t, typename Body>
INFOTORCH_INLINE void sums(int64_t padded, double (&total)[count], const Body& body) {
  constexpr int64_t most = 2048;  // numbers summed in scalar_t before float64 takes over
  for (int64_t c = 0; c < padded;) {
    Vector<scalar_t> sum[count] = {};
    for (const int64_t end = std::min(padded, c + most); c < end; c += kLanes<scalar_t>) body(c, sum);
#pragma GCC unroll 6
    for (int64_t k = 0; k < count; ++k) total[k] += lane_sum<scalar_t>(sum[k]);
  }
}

}  // namespace infotorch::cpu
