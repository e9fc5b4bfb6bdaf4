#include "pack.h"

#include "simd.h"

namespace infotorch::cpu {
namespace {

template <typename scalar_t>
INFOTORCH_INLINE void copy_lines(const scalar_t* from, int64_t r_stride, int64_t rows, int64_t cols, scalar_t* to,
                                 int64_t to_stride) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  for (int64_t r = 0; r < rows; ++r, from += r_stride, to += to_stride) {
    int64_t c = 0;
    for (; c + lanes <= cols; c += lanes) store(to + c, load<vector_t>(from + c));
    for (; c < cols; ++c) to[c] = from[c];
  }
}

// Swaps the off-diagonal halves of every 2s x 2s block, s = 1, 2, ...: a square transposed in its registers.
template <typename scalar_t>
INFOTORCH_INLINE void transpose_square(const scalar_t* from, int64_t from_stride, scalar_t* to, int64_t to_stride) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  typedef decltype(vector_t{} < vector_t{}) mask_t;
  vector_t line[lanes];
#pragma GCC unroll 16
  for (int64_t k = 0; k < lanes; ++k) line[k] = load<vector_t>(from + k * from_stride);
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
#pragma GCC unroll 16
  for (int64_t k = 0; k < lanes; ++k) store(to + k * to_stride, line[k]);
}

// to[r, c] = from[c * c_stride + r].
template <typename scalar_t>
INFOTORCH_INLINE void transpose_lines(const scalar_t* from, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                                      int64_t to_stride) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t whole_rows = rows / lanes * lanes, whole_cols = cols / lanes * lanes;
  for (int64_t c = 0; c < whole_cols; c += lanes)
    for (int64_t r = 0; r < whole_rows; r += lanes)
      transpose_square(from + c * c_stride + r, c_stride, to + r * to_stride + c, to_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c) to[r * to_stride + c] = from[c * c_stride + r];
}

template <typename scalar_t>
INFOTORCH_INLINE void copy_any(const scalar_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols,
                               scalar_t* to, int64_t to_stride) {
  if (c_stride == 1 && (r_stride != 1 || cols >= rows)) return copy_lines(from, r_stride, rows, cols, to, to_stride);
  if (r_stride == 1) return transpose_lines(from, c_stride, rows, cols, to, to_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) to[r * to_stride + c] = from[r * r_stride + c * c_stride];
}

INFOTORCH_CLONES void copy_clone(const float* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols,
                                 float* to, int64_t to_stride) {
  copy_any(from, r_stride, c_stride, rows, cols, to, to_stride);
}
INFOTORCH_CLONES void copy_clone(const double* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols,
                                 double* to, int64_t to_stride) {
  copy_any(from, r_stride, c_stride, rows, cols, to, to_stride);
}

}  // namespace

template <typename scalar_t>
void copy_block(const scalar_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                int64_t to_stride) {
  copy_clone(from, r_stride, c_stride, rows, cols, to, to_stride);
}

template void copy_block(const float*, int64_t, int64_t, int64_t, int64_t, float*, int64_t);
template void copy_block(const double*, int64_t, int64_t, int64_t, int64_t, double*, int64_t);

}  // namespace infotorch::cpu
