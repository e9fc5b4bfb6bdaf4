// exp of vectors whose numbers aren't positive, as the terms of a softmax are.
#pragma once

#include "simd.h"

namespace infotorch::cpu {

// 1 / k! up to the term that matters.
template <int terms>
struct Factorials {
  double inverse[terms + 1] = {1};
  constexpr Factorials() {
    for (int k = 1; k <= terms; ++k) inverse[k] = inverse[k - 1] / k;
  }
};

template <typename scalar_t>
struct ExpOf;

template <>
struct ExpOf<float> {
  using bits_t = uint32_t;
  static constexpr int kFraction = 23, kBias = 127, kTerms = 7;
  static constexpr float kLowest = -87;  // below it a result would be subnormal
  static constexpr float kLog2High = 0x1.62e4p-1f, kLog2Low = 0x1.7f7d1cp-20f;
};

template <>
struct ExpOf<double> {
  using bits_t = uint64_t;
  static constexpr int kFraction = 52, kBias = 1023, kTerms = 13;
  static constexpr double kLowest = -708;
  static constexpr double kLog2High = 0x1.62e42fefap-1, kLog2Low = 0x1.cf79abc9e3b3ap-40;
};

// To within two units in the last place, 0 below kLowest; NaN stays NaN. x = n log 2 + r with |r| <= log(2) / 2, and
// exp r by its series.
template <typename scalar_t>
INFOTORCH_INLINE Vector<scalar_t> exp_lanes(const Vector<scalar_t>& x) {
  using Of = ExpOf<scalar_t>;
  typedef typename Lanes<typename Of::bits_t, 64>::type bits_t;
  constexpr scalar_t log2_e = 1.4426950408889634;
  constexpr scalar_t shift = scalar_t(3) * (typename Of::bits_t{1} << (Of::kFraction - 1));  // its last bits hold n
  const Vector<scalar_t> shifted = x * log2_e + shift, n = shifted - shift;
  const Vector<scalar_t> r = (x - n * Of::kLog2High) - n * Of::kLog2Low;
  constexpr Factorials<Of::kTerms> series;
  const Vector<scalar_t> r2 = r * r;
  Vector<scalar_t> odd = {}, even = {};  // powers of r, two chains that don't wait for each other
#pragma GCC unroll 13
  for (int k = Of::kTerms; k > 0; k -= 2) {
    odd = odd * r2 + scalar_t(series.inverse[k]);
    even = even * r2 + scalar_t(series.inverse[k - 1]);
  }
  const auto power = (Vector<scalar_t>)(((bits_t)shifted + Of::kBias) << Of::kFraction);  // 2^n
  return x < Of::kLowest ? Vector<scalar_t>{} : (even + r * odd) * power;
}

}  // namespace infotorch::cpu
