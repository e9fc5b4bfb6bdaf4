#include "tile.h"

#include <utility>

#include "simd.h"

#if INFOTORCH_HAS_TARGETS
#include <unistd.h>
#endif

namespace infotorch::cpu {
namespace {

template <int64_t bytes, int64_t rows, int64_t vectors, typename scalar_t>
INFOTORCH_INLINE void tile(const scalar_t* x, int64_t x_stride, const scalar_t* y, int64_t y_stride, int64_t depth,
                           const scalar_t* from, Into into, scalar_t* out, int64_t out_stride, const char* ahead,
                           int64_t ahead_step) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  vector_t sum[rows][vectors] = {};
  for (int64_t k = 0; k < depth; ++k, x += x_stride, y += y_stride, ahead += ahead_step) {
    __builtin_prefetch(ahead, 0, 2);
    vector_t right[vectors];
#pragma GCC unroll 2
    for (int64_t v = 0; v < vectors; ++v) right[v] = load<vector_t>(x + v * lanes);
#pragma GCC unroll 14
    for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] += y[r] * right[v];
  }
#pragma GCC unroll 14
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t at = r * out_stride + v * lanes;
      const vector_t value = from ? load<vector_t>(from + at) + sum[r][v] : sum[r][v];
      if (into == Into::streamed)
        stream(out + at, value);
      else
        store(out + at, into == Into::squares ? load<vector_t>(out + at) + value * value : value);
    }
}

// One family of kernels: NAME<scalar_t, rows, vectors> for registers of BYTES, compiled with ATTRIBUTE.
#define INFOTORCH_TILE(NAME, BYTES, ATTRIBUTE)                                                                   \
  template <typename scalar_t, int64_t rows, int64_t vectors>                                                    \
  ATTRIBUTE void NAME(const scalar_t* x, int64_t x_stride, const scalar_t* y, int64_t y_stride, int64_t depth,   \
                      const scalar_t* from, Into into, scalar_t* out, int64_t out_stride, const char* ahead,     \
                      int64_t ahead_step) {                                                                      \
    tile<BYTES, rows, vectors>(x, x_stride, y, y_stride, depth, from, into, out, out_stride, ahead, ahead_step); \
  }                                                                                                              \
  template <typename scalar_t, int64_t... r>                                                                     \
  constexpr TileKernels<scalar_t> NAME##_table(std::integer_sequence<int64_t, r...>) {                           \
    return {sizeof...(r), BYTES / sizeof(scalar_t), {{NAME<scalar_t, r + 1, 1>, NAME<scalar_t, r + 1, 2>}...}};  \
  }

#if INFOTORCH_HAS_TARGETS
INFOTORCH_TILE(tile_v4, 64, __attribute__((target("arch=x86-64-v4"))))  // 28 of 32 registers hold the tile
INFOTORCH_TILE(tile_v3, 32, __attribute__((target("arch=x86-64-v3"))))  // 12 of 16
#endif
INFOTORCH_TILE(tile_any, 16, )  // 12 of SSE2's 16, and of NEON's 32

#if INFOTORCH_HAS_TARGETS
bool has_v4() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
}
bool has_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
#else
bool has_v4() { return false; }
bool has_v3() { return false; }
#endif

template <typename scalar_t>
TileKernels<scalar_t> choose() {
#if INFOTORCH_HAS_TARGETS
  if (has_v4()) return tile_v4_table<scalar_t>(std::make_integer_sequence<int64_t, 14>());
  if (has_v3()) return tile_v3_table<scalar_t>(std::make_integer_sequence<int64_t, 6>());
#endif
  return tile_any_table<scalar_t>(std::make_integer_sequence<int64_t, 6>());
}

}  // namespace

template <typename scalar_t>
const TileKernels<scalar_t>& tile_kernels() {
  static const TileKernels<scalar_t> kernels = choose<scalar_t>();
  return kernels;
}

template const TileKernels<float>& tile_kernels();
template const TileKernels<double>& tile_kernels();

const char* instruction_set() { return has_v4() ? "x86-64-v4" : has_v3() ? "x86-64-v3" : "baseline"; }

int64_t vector_bytes() { return has_v4() ? 64 : has_v3() ? 32 : 16; }

bool has_large_cache() {
#if INFOTORCH_HAS_TARGETS && defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return has_v4() && bytes >= int64_t{2} << 20;  // processors with cores of several kinds have none of these vectors
#else
  return false;
#endif
}

}  // namespace infotorch::cpu
