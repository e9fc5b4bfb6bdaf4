#include "reduce.h"

#include "simd.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBlock = 4096;  // numbers summed in scalar_t, in the lanes of some vectors, before float64 takes over
constexpr int64_t kRowBlock = 128;  // rows, of which every lane adds all

template <typename scalar_t>
INFOTORCH_INLINE double dot_lanes(const scalar_t* x, const scalar_t* y, int64_t count) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  double total = 0;
  int64_t k = 0;
  while (k + lanes <= count) {
    vector_t sum[4] = {};
    const int64_t end = k + kBlock < count ? k + kBlock : count;
    for (; k + 4 * lanes <= end; k += 4 * lanes)
#pragma GCC unroll 4
      for (int64_t r = 0; r < 4; ++r) sum[r] += load<vector_t>(x + k + r * lanes) * load<vector_t>(y + k + r * lanes);
    for (; k + lanes <= end; k += lanes) sum[0] += load<vector_t>(x + k) * load<vector_t>(y + k);
    total += lane_sum<scalar_t>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
  for (; k < count; ++k) total += static_cast<double>(x[k]) * y[k];
  return total;
}

// sum[r] += the sum of terms(r, k), a vector of them, and of the last ones, term(r, k). Rows stand side by side, so
// that none waits for its own sum.
template <int64_t rows, typename scalar_t, typename Terms, typename Term>
INFOTORCH_INLINE void add_row_sums(int64_t count, const Terms& terms, const Term& term, double* sum) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t k = 0;
  while (k + lanes <= count) {
    vector_t total[rows][2] = {};
    const int64_t end = k + kBlock < count ? k + kBlock : count;
    for (; k + 2 * lanes <= end; k += 2 * lanes)
#pragma GCC unroll 2
      for (int64_t j = 0; j < 2; ++j)
#pragma GCC unroll 4
        for (int64_t r = 0; r < rows; ++r) total[r][j] += terms(r, k + j * lanes);
    for (; k + lanes <= end; k += lanes)
#pragma GCC unroll 4
      for (int64_t r = 0; r < rows; ++r) total[r][0] += terms(r, k);
#pragma GCC unroll 4
    for (int64_t r = 0; r < rows; ++r) sum[r] += lane_sum<scalar_t>(total[r][0] + total[r][1]);
  }
  for (; k < count; ++k)
    for (int64_t r = 0; r < rows; ++r) sum[r] += term(r, k);
}

// Rows of y share what is read of x.
template <int64_t rows, typename scalar_t>
INFOTORCH_INLINE void some_dots(const scalar_t* x, const scalar_t* y, int64_t y_stride, int64_t count, double* sum) {
  using vector_t = Vector<scalar_t>;
  add_row_sums<rows, scalar_t>(
      count, [&](int64_t r, int64_t k) { return load<vector_t>(x + k) * load<vector_t>(y + r * y_stride + k); },
      [&](int64_t r, int64_t k) { return static_cast<double>(x[k]) * y[r * y_stride + k]; }, sum);
}

template <typename scalar_t>
INFOTORCH_INLINE void dots_lanes(const scalar_t* x, const scalar_t* y, int64_t y_stride, int64_t rows, int64_t count,
                                 double* sum) {
  for (; rows >= 4; rows -= 4, y += 4 * y_stride, sum += 4) some_dots<4>(x, y, y_stride, count, sum);
  if (rows == 3) some_dots<3>(x, y, y_stride, count, sum);
  if (rows == 2) some_dots<2>(x, y, y_stride, count, sum);
  if (rows == 1) *sum += dot_lanes(x, y, count);
}

// The rows after these are asked for.
template <int64_t rows, typename scalar_t>
INFOTORCH_INLINE void some_squares(const scalar_t* x, int64_t stride, int64_t count, double* sum) {
  add_row_sums<rows, scalar_t>(
      count,
      [&](int64_t r, int64_t k) {
        __builtin_prefetch(x + (rows + r) * stride + k);
        const auto here = load<Vector<scalar_t>>(x + r * stride + k);
        return here * here;
      },
      [&](int64_t r, int64_t k) { return static_cast<double>(x[r * stride + k]) * x[r * stride + k]; }, sum);
}

template <typename scalar_t>
INFOTORCH_INLINE void squares_lanes(const scalar_t* x, int64_t stride, int64_t rows, int64_t count, double* sum) {
  for (; rows >= 4; rows -= 4, x += 4 * stride, sum += 4) some_squares<4>(x, stride, count, sum);
  for (; rows > 0; --rows, x += stride) some_squares<1>(x, stride, count, sum++);
}

// As many numbers as Vector<scalar_t> has, of another type.
template <typename number_t, typename scalar_t>
using VectorOf = typename Lanes<number_t, kLanes<scalar_t> * sizeof(number_t)>::type;

template <typename scalar_t, typename sum_t>
INFOTORCH_INLINE void add_scaled_lanes(const scalar_t* x, double scale, int64_t count, sum_t* y) {
  using vector_t = VectorOf<sum_t, scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  const auto factor = static_cast<sum_t>(scale);
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes)
    store(y + k, load<vector_t>(y + k) + factor * __builtin_convertvector(load<Vector<scalar_t>>(x + k), vector_t));
  for (; k < count; ++k) y[k] += factor * x[k];
}

template <typename scalar_t>
INFOTORCH_INLINE void column_dots_lanes(const scalar_t* x, const scalar_t* y, int64_t stride, int64_t rows,
                                        int64_t cols, scalar_t* sum) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t c = 0;
  for (; c + lanes <= cols; c += lanes) {
    vector_t total[2] = {};
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2)
#pragma GCC unroll 2
      for (int64_t j = 0; j < 2; ++j)
        total[j] += load<vector_t>(x + (r + j) * stride + c) * load<vector_t>(y + (r + j) * stride + c);
    if (r < rows) total[0] += load<vector_t>(x + r * stride + c) * load<vector_t>(y + r * stride + c);
    store(sum + c, load<vector_t>(sum + c) + (total[0] + total[1]));
  }
  for (; c < cols; ++c)
    for (int64_t r = 0; r < rows; ++r) sum[c] += x[r * stride + c] * y[r * stride + c];
}

// Adds `count` vectors of every row.
template <int64_t count, typename scalar_t>
INFOTORCH_INLINE void add_row_vectors(const scalar_t* x, int64_t stride, int64_t rows, double* sum) {
  using vector_t = VectorOf<double, scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  Vector<scalar_t> total[count] = {};
  for (int64_t r = 0; r < rows; ++r, x += stride)
#pragma GCC unroll 4
    for (int64_t v = 0; v < count; ++v) total[v] += load<Vector<scalar_t>>(x + v * lanes);
#pragma GCC unroll 4
  for (int64_t v = 0; v < count; ++v, sum += lanes)
    store(sum, load<vector_t>(sum) + __builtin_convertvector(total[v], vector_t));
}

template <typename scalar_t>
INFOTORCH_INLINE void add_some_rows(const scalar_t* x, int64_t stride, int64_t rows, int64_t cols, double* sum) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t rest = cols % lanes;
  if (rest > 0 && cols >= lanes) {  // a vector that overlaps the one before it: only its last columns are added
    vector_t total = {};
    for (int64_t r = 0; r < rows; ++r) total += load<vector_t>(x + r * stride + cols - lanes);
    for (int64_t k = lanes - rest; k < lanes; ++k) sum[cols - lanes + k] += total[k];
  } else {
    for (int64_t c = cols - rest; c < cols; ++c) {
      double total = 0;
      for (int64_t r = 0; r < rows; ++r) total += x[r * stride + c];
      sum[c] += total;
    }
  }
  int64_t c = 0;
  for (; c + 4 * lanes <= cols; c += 4 * lanes) add_row_vectors<4>(x + c, stride, rows, sum + c);
  for (; c + lanes <= cols; c += lanes) add_row_vectors<1>(x + c, stride, rows, sum + c);
}

template <typename scalar_t>
INFOTORCH_INLINE void add_rows_lanes(const scalar_t* x, int64_t stride, int64_t rows, int64_t cols, double* sum) {
  for (; rows > 0; rows -= kRowBlock, x += kRowBlock * stride)
    add_some_rows(x, stride, rows < kRowBlock ? rows : kRowBlock, cols, sum);
}

template <typename scalar_t>
INFOTORCH_INLINE void multiply_lanes(const scalar_t* x, const scalar_t* y, int64_t count, scalar_t* out) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes) store(out + k, load<vector_t>(x + k) * load<vector_t>(y + k));
  for (; k < count; ++k) out[k] = x[k] * y[k];
}

// The same by one number.
template <typename scalar_t>
INFOTORCH_INLINE void multiply_lanes(const scalar_t* x, scalar_t y, int64_t count, scalar_t* out) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes) store(out + k, y * load<vector_t>(x + k));
  for (; k < count; ++k) out[k] = y * x[k];
}

template <typename scalar_t>
INFOTORCH_INLINE void outer_lanes(const scalar_t* x, int64_t cols, const scalar_t* y, int64_t rows, scalar_t* out) {
  for (int64_t r = 0; r < rows; ++r, out += cols) multiply_lanes(x, y[r], cols, out);
}

template <typename scalar_t>
INFOTORCH_INLINE void stream_outer_lanes(const scalar_t* x, int64_t cols, const scalar_t* y, int64_t rows,
                                         scalar_t* out) {
  for (int64_t r = 0; r < rows; ++r, out += cols)
    for (int64_t k = 0; k < cols; k += kLanes<scalar_t>) stream(out + k, y[r] * load<Vector<scalar_t>>(x + k));
  end_streams();
}

}  // namespace

// Overloads, because a template can't be cloned.
#define INFOTORCH_REDUCTIONS(scalar_t)                                                                                 \
  INFOTORCH_CLONES double dot(const scalar_t* x, const scalar_t* y, int64_t count) { return dot_lanes(x, y, count); }  \
  INFOTORCH_CLONES void add_dots(const scalar_t* x, const scalar_t* y, int64_t y_stride, int64_t rows, int64_t count,  \
                                 double* sum) {                                                                        \
    dots_lanes(x, y, y_stride, rows, count, sum);                                                                      \
  }                                                                                                                    \
  INFOTORCH_CLONES void add_squares(const scalar_t* x, int64_t stride, int64_t rows, int64_t count, double* sum) {     \
    squares_lanes(x, stride, rows, count, sum);                                                                        \
  }                                                                                                                    \
  INFOTORCH_CLONES void add_scaled(const scalar_t* x, double scale, int64_t count, scalar_t* y) {                      \
    add_scaled_lanes(x, scale, count, y);                                                                              \
  }                                                                                                                    \
  INFOTORCH_CLONES void add_column_dots(const scalar_t* x, const scalar_t* y, int64_t stride, int64_t rows,            \
                                        int64_t cols, scalar_t* sum) {                                                 \
    column_dots_lanes(x, y, stride, rows, cols, sum);                                                                  \
  }                                                                                                                    \
  INFOTORCH_CLONES void add_rows(const scalar_t* x, int64_t stride, int64_t rows, int64_t cols, double* sum) {         \
    add_rows_lanes(x, stride, rows, cols, sum);                                                                        \
  }                                                                                                                    \
  INFOTORCH_CLONES void multiply(const scalar_t* x, const scalar_t* y, int64_t count, scalar_t* out) {                 \
    multiply_lanes(x, y, count, out);                                                                                  \
  }                                                                                                                    \
  INFOTORCH_CLONES void multiply(const scalar_t* x, scalar_t y, int64_t count, scalar_t* out) {                        \
    multiply_lanes(x, y, count, out);                                                                                  \
  }                                                                                                                    \
  INFOTORCH_CLONES void write_outer(const scalar_t* x, int64_t cols, const scalar_t* y, int64_t rows, scalar_t* out) { \
    outer_lanes(x, cols, y, rows, out);                                                                                \
  }                                                                                                                    \
  INFOTORCH_CLONES void stream_outer(const scalar_t* x, int64_t cols, const scalar_t* y, int64_t rows,                 \
                                     scalar_t* out) {                                                                  \
    stream_outer_lanes(x, cols, y, rows, out);                                                                         \
  }
INFOTORCH_REDUCTIONS(float)
INFOTORCH_REDUCTIONS(double)
INFOTORCH_CLONES void add_scaled(const float* x, double scale, int64_t count, double* y) {
  add_scaled_lanes(x, scale, count, y);
}

}  // namespace infotorch::cpu
