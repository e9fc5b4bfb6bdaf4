// Vectors of a fixed width, and functions compiled once per instruction set: GCC on x86-64 Linux builds the
// clones and the machine picks one at start-up. Elsewhere there is one version of each; also under sanitizers, which
// start up later than that, but there tile.cpp still chooses its own. INFOTORCH_BASELINE leaves the plainest of all.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "../half.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(INFOTORCH_BASELINE)
#define INFOTORCH_HAS_TARGETS 1
#else
#define INFOTORCH_HAS_TARGETS 0
#endif
#if INFOTORCH_HAS_TARGETS && !defined(INFOTORCH_NO_CLONES)
#define INFOTORCH_HAS_CLONES 1
#define INFOTORCH_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), flatten))
#else
#define INFOTORCH_HAS_CLONES 0
#define INFOTORCH_CLONES
#endif
#define INFOTORCH_INLINE inline __attribute__((always_inline))  // a clone optimises only what is inside it

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross a call: everything here is inlined

namespace infotorch::cpu {

template <typename scalar_t, int64_t bytes>
struct Lanes {
  typedef scalar_t type __attribute__((vector_size(bytes)));
};

template <typename scalar_t>
constexpr int64_t kLanes = 64 / sizeof(scalar_t);  // of the widest registers; narrower ones take turns

template <typename scalar_t>
using Vector = typename Lanes<scalar_t, 64>::type;

template <typename vector_t, typename scalar_t>
INFOTORCH_INLINE vector_t load(const scalar_t* x) {
  vector_t v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}

// 16-bit numbers as the bits of unsigned integers, one to a lane of vector_t.
template <typename vector_t>
INFOTORCH_INLINE auto load_bits(const void* x) {
  typename Lanes<uint16_t, sizeof(vector_t) / 2>::type half;
  std::memcpy(&half, x, sizeof(half));
  return __builtin_convertvector(half, typename Lanes<uint32_t, sizeof(vector_t)>::type);
}

template <typename vector_t>
INFOTORCH_INLINE vector_t load(const BFloat16* x) {
  return (vector_t)(load_bits<vector_t>(x) << 16);
}

// widen(Float16) in every lane.
template <typename vector_t>
INFOTORCH_INLINE vector_t load(const Float16* x) {
  const auto bits = load_bits<vector_t>(x), rest = (bits & 0x7fff) << Float16::kShift;
  const auto large = rest + (rest >= Float16::kInfinity ? 2 * Float16::kRebias : Float16::kRebias);
  const auto small = (vector_t)(rest + (Float16::kRebias + Float16::kOne)) - 0x1p-14f;
  return (vector_t)((rest < Float16::kOne ? (decltype(large))small : large) | (bits & 0x8000) << 16);
}

// x[0 : size], zeros after; size < lanes.
template <typename vector_t, typename scalar_t>
INFOTORCH_INLINE vector_t load_some(const scalar_t* x, int64_t size) {
  vector_t v = {};
  std::memcpy(&v, x, size * sizeof(scalar_t));
  return v;
}

template <typename vector_t, typename scalar_t>
INFOTORCH_INLINE void store(scalar_t* x, const vector_t& v) {
  std::memcpy(x, &v, sizeof(v));
}

// The same past the caches, which needn't fetch what is written whole: v, with its neighbours, fills lines of 64
// bytes. A thread is done after end_streams().
template <typename vector_t, typename scalar_t>
INFOTORCH_INLINE void stream(scalar_t* x, const vector_t& v) {
#if defined(__SSE2__)
  constexpr int64_t count = sizeof(v) / sizeof(__m128i);
  __m128i parts[count];
  std::memcpy(parts, &v, sizeof(v));
#pragma GCC unroll 4
  for (int64_t k = 0; k < count; ++k) _mm_stream_si128(reinterpret_cast<__m128i*>(x) + k, parts[k]);
#else
  store(x, v);
#endif
}

INFOTORCH_INLINE void end_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Half of each lane, as 16-bit numbers.
template <typename bits_t>
INFOTORCH_INLINE void store_bits(void* x, const bits_t& bits) {
  const auto half = __builtin_convertvector(bits, typename Lanes<uint16_t, sizeof(bits_t) / 2>::type);
  std::memcpy(x, &half, sizeof(half));
}

// narrow(float, BFloat16*) of every lane.
template <typename vector_t>
INFOTORCH_INLINE void store(BFloat16* x, const vector_t& v) {
  const auto bits = (typename Lanes<uint32_t, sizeof(vector_t)>::type)v;
  const auto rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
  store_bits(x, v != v ? nan : rounded);
}

// narrow(float, Float16*) of every lane.
template <typename vector_t>
INFOTORCH_INLINE void store(Float16* x, const vector_t& v) {
  const auto bits = (typename Lanes<uint32_t, sizeof(vector_t)>::type)v;
  const auto sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  auto to = (rest - Float16::kRebias + 0xfff + (rest >> Float16::kShift & 1)) >> Float16::kShift;
  const auto small = (decltype(bits + 0))((vector_t)rest + 0.5f) - 0x3f000000;
  to = rest < Float16::kRebias + Float16::kOne ? small : to;
  to = rest >= 0x477ff000 ? (decltype(to))(to & 0) + (Float16::kInfinity >> Float16::kShift) : to;
  to = v != v ? (decltype(to))(to & 0) + 0x7e00 : to;
  store_bits(x, sign | to);
}

// Every lane and the one `half` lanes away. A mask that is filled in a loop would be built anew each time.
template <int64_t half, typename vector_t, int64_t... k>
INFOTORCH_INLINE vector_t halves_added(const vector_t& v, std::integer_sequence<int64_t, k...>) {
  typedef decltype(vector_t{} < vector_t{}) mask_t;
  return v + __builtin_shuffle(v, mask_t{(k ^ half)...});
}

// The sum of all lanes, as a fixed tree of halves.
template <typename scalar_t, int64_t half = kLanes<scalar_t> / 2>
INFOTORCH_INLINE double lane_sum(const Vector<scalar_t>& v) {
  if constexpr (half > 0)
    return lane_sum<scalar_t, half / 2>(halves_added<half>(v, std::make_integer_sequence<int64_t, kLanes<scalar_t>>()));
  else
    return v[0];
}

}  // namespace infotorch::cpu
