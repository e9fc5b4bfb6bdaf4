#include "spectrum.h"

#include <algorithm>

#include "simd.h"
#include "tile.h"

namespace infotorch::cpu {
namespace {

// A value that comes c times has, at its runs in order, 0 ... c - 1 equal ones before it. So as many values come v
// times or more as there are runs with v - 1 equal ones before them.
template <int64_t bytes, typename lane_t>
INFOTORCH_INLINE void compare_all(const lane_t* keys, int64_t K, lane_t* scratch, int32_t* times) {
  using vector_t = typename Lanes<lane_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(lane_t);
  lane_t *before = scratch, *at_least = scratch + K * kSide;  // [K, kSide], [2 + K, kSide]
  int64_t most = 0;                                           // of `before`
  for (int64_t q = 0; q < kSide; q += lanes) {
    vector_t largest = {};
    for (int64_t k = 0; k < K; ++k) {
      const auto key = load<vector_t>(keys + k * kSide + q);
      vector_t count = {}, other = {};
      int64_t j = 0;
      for (; j + 2 <= k; j += 2) {
        count -= (vector_t)(load<vector_t>(keys + j * kSide + q) == key);  // true is -1
        other -= (vector_t)(load<vector_t>(keys + (j + 1) * kSide + q) == key);
      }
      if (j < k) count -= (vector_t)(load<vector_t>(keys + j * kSide + q) == key);
      count += other;
      largest = count > largest ? count : largest;
      store(before + k * kSide + q, count);
    }
    for (int64_t l = 0; l < lanes; ++l) most = std::max<int64_t>(most, largest[l]);
  }
  for (int64_t q = 0; q < kSide; q += lanes)
    for (int64_t v = 0; v <= most; ++v) {
      vector_t count = {}, other = {};
      int64_t k = v;
      for (; k + 2 <= K; k += 2) {
        count -= (vector_t)(load<vector_t>(before + k * kSide + q) == static_cast<lane_t>(v));
        other -= (vector_t)(load<vector_t>(before + (k + 1) * kSide + q) == static_cast<lane_t>(v));
      }
      if (k < K) count -= (vector_t)(load<vector_t>(before + k * kSide + q) == static_cast<lane_t>(v));
      store(at_least + (v + 1) * kSide + q, count + other);
    }
  std::fill_n(at_least + (most + 2) * kSide, kSide, lane_t{0});
  for (int64_t at = kSide; at < (most + 2) * kSide; ++at)
    times[at] = static_cast<int32_t>(at_least[at]) - static_cast<int32_t>(at_least[at + kSide]);
  std::fill(times + (most + 2) * kSide, times + (K + 1) * kSide, 0);
}

// For registers of BYTES, compiled with ATTRIBUTE. Wider ones than 32 bytes compare into masks, not into lanes.
#define INFOTORCH_SPECTRUM(NAME, BYTES, ATTRIBUTE)                                                                   \
  template <typename lane_t>                                                                                         \
  ATTRIBUTE                                                                                                          \
      __attribute__((flatten)) void compare_##NAME(const lane_t* keys, int64_t K, lane_t* scratch, int32_t* times) { \
    compare_all<BYTES>(keys, K, scratch, times);                                                                     \
  }

#if INFOTORCH_HAS_CLONES
INFOTORCH_SPECTRUM(v3, 32, __attribute__((target("arch=x86-64-v3"))))
#endif
INFOTORCH_SPECTRUM(any, 16, )

template <typename lane_t>
void compare(const lane_t* keys, int64_t K, lane_t* scratch, int32_t* times) {
#if INFOTORCH_HAS_CLONES
  if (vector_bytes() >= 32) return compare_v3(keys, K, scratch, times);
#endif
  compare_any(keys, K, scratch, times);
}

}  // namespace

void spectrum(const uint8_t* keys, int64_t K, uint8_t* scratch, int32_t* times) { compare(keys, K, scratch, times); }
void spectrum(const uint16_t* keys, int64_t K, uint16_t* scratch, int32_t* times) { compare(keys, K, scratch, times); }
void spectrum(const uint32_t* keys, int64_t K, uint32_t* scratch, int32_t* times) { compare(keys, K, scratch, times); }

}  // namespace infotorch::cpu
