#include "dots.h"

#include "reduce.h"
#include "simd.h"
#include "tile.h"

namespace infotorch::cpu {
namespace {

// Sums of the halves of blocks of 2 * half lanes: those of `one`, then those of `other`.
template <int64_t half, typename vector_t, int64_t... k>
INFOTORCH_INLINE vector_t folded(const vector_t& one, const vector_t& other, std::integer_sequence<int64_t, k...>) {
  typedef decltype(vector_t{} < vector_t{}) mask_t;
  const mask_t low = {(k / half * 2 * half + k % half)...};  // a vector's lanes are whole blocks
  return __builtin_shuffle(one, other, low) + __builtin_shuffle(one, other, low + half);
}

// Lane k of the result is the sum of x[k]: every step folds two vectors into one.
template <typename vector_t, int64_t lanes, int64_t half = lanes / 2>
INFOTORCH_INLINE vector_t lane_sums(vector_t (&x)[lanes]) {
#pragma GCC unroll 8
  for (int64_t k = 0; k < half; ++k)
    x[k] = folded<half>(x[2 * k], x[2 * k + 1], std::make_integer_sequence<int64_t, lanes>());
  if constexpr (half > 1)
    return lane_sums<vector_t, lanes, half / 2>(x);
  else
    return x[0];
}

template <int64_t bytes, int64_t R, int64_t C, typename scalar_t>
INFOTORCH_INLINE void tile(const scalar_t* x, int64_t x_stride, const scalar_t* y, int64_t y_stride, int64_t count,
                           bool add, scalar_t* out, int64_t out_stride, const char* ahead, int64_t ahead_step) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  using row_t = typename Lanes<scalar_t, C * sizeof(scalar_t)>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  static_assert(R * C % lanes == 0, "sums come by the vector");
  vector_t sum[R * C] = {};
  for (int64_t k = 0; k < count; k += lanes, ahead += ahead_step) {
    __builtin_prefetch(ahead, 0, 2);
    vector_t right[C];
#pragma GCC unroll 4
    for (int64_t c = 0; c < C; ++c) right[c] = load<vector_t>(y + c * y_stride + k);
#pragma GCC unroll 4
    for (int64_t r = 0; r < R; ++r) {
      const vector_t left = load<vector_t>(x + r * x_stride + k);
#pragma GCC unroll 4
      for (int64_t c = 0; c < C; ++c) sum[r * C + c] += left * right[c];
    }
  }
  scalar_t sums[R * C];
#pragma GCC unroll 8
  for (int64_t v = 0; v < R * C; v += lanes) {
    vector_t some[lanes];
#pragma GCC unroll 16
    for (int64_t k = 0; k < lanes; ++k) some[k] = sum[v + k];
    store(sums + v, lane_sums(some));
  }
#pragma GCC unroll 4
  for (int64_t r = 0; r < R; ++r) {
    scalar_t* const to = out + r * out_stride;
    const row_t here = load<row_t>(sums + r * C);
    store(to, add ? load<row_t>(to) + here : here);
  }
}

// What whole tiles cover.
struct Done {
  int64_t rows, cols;
};

// Rows of y that stay in the nearest cache while rows of x pass, whole tiles of `step`.
template <typename scalar_t>
int64_t near_rows(int64_t count, int64_t step) {
  constexpr int64_t near = (16 << 10) / sizeof(scalar_t);  // numbers
  return std::max<int64_t>(1, near / std::max<int64_t>(1, count) / step) * step;
}

// All whole tiles, for registers of BYTES, compiled with ATTRIBUTE.
#define INFOTORCH_TILES(NAME, BYTES, R, C, ATTRIBUTE)                                                                \
  template <typename scalar_t>                                                                                       \
  ATTRIBUTE Done NAME(const Panel<scalar_t>& x, int64_t rows, const Panel<scalar_t>& y, int64_t cols, int64_t count, \
                      bool triangle, bool add, scalar_t* out, int64_t out_stride, Ahead& next) {                     \
    const Done done = {triangle ? cols / C * C : rows / R * R, cols / C * C};                                        \
    const int64_t near = near_rows<scalar_t>(count, C);                                                              \
    for (int64_t c0 = 0; c0 < done.cols; c0 += near)                                                                 \
      for (int64_t r = 0, c1 = std::min(done.cols, c0 + near); r < (triangle ? c1 : done.rows); r += R)              \
        for (int64_t c = triangle ? std::max(c0, r / C * C) : c0; c < c1; c += C) {                                  \
          const scalar_t* const left = x.data + r * x.stride;                                                        \
          const Ahead::Columns column = next.take();                                                                 \
          const char* ahead = column.data ? column.data : reinterpret_cast<const char*>(left);                       \
          tile<BYTES, R, C>(left, x.stride, y.data + c * y.stride, y.stride, count, add, out + r * out_stride + c,   \
                            out_stride, ahead, column.step);                                                         \
        }                                                                                                            \
    return done;                                                                                                     \
  }

#if INFOTORCH_HAS_TARGETS
INFOTORCH_TILES(tiles_v4, 64, 4, 4, __attribute__((target("arch=x86-64-v4"))))  // 21 of 32 registers
INFOTORCH_TILES(tiles_v3, 32, 2, 4, __attribute__((target("arch=x86-64-v3"))))  // 13 of 16
#endif
INFOTORCH_TILES(tiles_any, 16, 2, 4, )

template <typename scalar_t>
Done tiles(const Panel<scalar_t>& x, int64_t rows, const Panel<scalar_t>& y, int64_t cols, int64_t count, bool triangle,
           bool add, scalar_t* out, int64_t out_stride, Ahead& next) {
#if INFOTORCH_HAS_TARGETS
  static const int64_t bytes = vector_bytes();
  if (bytes == 64) return tiles_v4(x, rows, y, cols, count, triangle, add, out, out_stride, next);
  if (bytes == 32) return tiles_v3(x, rows, y, cols, count, triangle, add, out, out_stride, next);
#endif
  return tiles_any(x, rows, y, cols, count, triangle, add, out, out_stride, next);
}

}  // namespace

template <typename scalar_t>
void row_products(const Panel<scalar_t>& x, int64_t rows, const Panel<scalar_t>& y, int64_t cols, int64_t count,
                  bool triangle, bool add, scalar_t* out, int64_t out_stride, Ahead next) {
  constexpr int64_t most = 64;
  const Done done = tiles(x, rows, y, cols, count, triangle, add, out, out_stride, next);
  // One row against the first `end` of the other side, `step` apart in the result.
  const auto beside = [&](const scalar_t* one, const Panel<scalar_t>& other, int64_t end, scalar_t* to, int64_t step) {
    for (int64_t k = 0, some; k < end; k += some) {
      some = std::min(most, end - k);
      double sums[most] = {};
      add_dots(one, other.data + k * other.stride, other.stride, some, count, sums);
      for (int64_t j = 0; j < some; ++j) {
        scalar_t& here = to[(k + j) * step];
        here = static_cast<scalar_t>(sums[j]) + (add ? here : 0);
      }
    }
  };
  for (int64_t c = done.cols; c < cols; ++c)
    beside(y.data + c * y.stride, x, triangle ? c + 1 : done.rows, out + c, out_stride);
  for (int64_t r = done.rows; r < rows && !triangle; ++r)
    beside(x.data + r * x.stride, y, cols, out + r * out_stride, 1);
}

template void row_products(const Panel<float>&, int64_t, const Panel<float>&, int64_t, int64_t, bool, bool, float*,
                           int64_t, Ahead);
template void row_products(const Panel<double>&, int64_t, const Panel<double>&, int64_t, int64_t, bool, bool, double*,
                           int64_t, Ahead);

}  // namespace infotorch::cpu
