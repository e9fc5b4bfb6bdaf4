#include "pack.h"

#include "transpose.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kAhead = 6;  // vectors that are asked for before they are transposed

// Whole vectors, of which the last one overlaps the one before it.
template <int64_t bytes, typename stored_t, typename scalar_t>
INFOTORCH_INLINE void copy_vectors(const stored_t* from, int64_t cols, scalar_t* to) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  for (int64_t c = 0; c + lanes <= cols; c += lanes) store(to + c, load<vector_t>(from + c));
  if (cols % lanes != 0) store(to + cols - lanes, load<vector_t>(from + cols - lanes));
}

template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void copy_lines(const stored_t* from, int64_t r_stride, int64_t rows, int64_t cols, scalar_t* to,
                                 int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r, from += r_stride, to += to_stride) {
    if (cols >= kLanes<scalar_t>)
      copy_vectors<64>(from, cols, to);
    else if (cols >= kLanes<scalar_t> / 4)
      copy_vectors<16>(from, cols, to);
    else
      for (int64_t c = 0; c < cols; ++c) to[c] = widen(from[c]);
  }
}

template <int64_t bytes, typename stored_t, typename scalar_t>
INFOTORCH_INLINE void transpose_square(const stored_t* from, int64_t from_stride, scalar_t* to, int64_t to_stride) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  vector_t line[lanes];
#pragma GCC unroll 16
  for (int64_t k = 0; k < lanes; ++k) {
    line[k] = load<vector_t>(from + k * from_stride);
    if (bytes == 64) __builtin_prefetch(from + k * from_stride + kAhead * lanes);  // too many rows for the hardware's
  }
  transpose_lines<scalar_t, bytes>(line);
#pragma GCC unroll 16
  for (int64_t k = 0; k < lanes; ++k) store(to + k * to_stride, line[k]);
}

// to[r, c] = from[c * c_stride + r], in squares of vectors.
template <int64_t bytes, typename stored_t, typename scalar_t>
INFOTORCH_INLINE void transpose_squares(const stored_t* from, int64_t c_stride, int64_t rows, int64_t cols,
                                        scalar_t* to, int64_t to_stride) {
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  for (int64_t c = 0; c < cols; c += lanes)
    for (int64_t r = 0; r < rows; r += lanes)
      transpose_square<bytes>(from + c * c_stride + r, c_stride, to + r * to_stride + c, to_stride);
}

// Extends what is done, r_done x c_done in whole squares, to the whole squares of `bytes`.
template <int64_t bytes, typename stored_t, typename scalar_t>
INFOTORCH_INLINE void transpose_more(const stored_t* from, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                                     int64_t to_stride, int64_t& r_done, int64_t& c_done) {
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  const int64_t r = rows / lanes * lanes, c = cols / lanes * lanes;
  transpose_squares<bytes>(from + r_done, c_stride, r - r_done, c_done, to + r_done * to_stride, to_stride);
  transpose_squares<bytes>(from + c_done * c_stride, c_stride, r, c - c_done, to + c_done, to_stride);
  r_done = r;
  c_done = c;
}

// The same for any rows and cols: wide squares, then narrower ones along both edges, then single numbers.
template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void transpose(const stored_t* from, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                                int64_t to_stride) {
  int64_t r_done = 0, c_done = 0;
  transpose_more<64>(from, c_stride, rows, cols, to, to_stride, r_done, c_done);
  transpose_more<32>(from, c_stride, rows, cols, to, to_stride, r_done, c_done);
  transpose_more<16>(from, c_stride, rows, cols, to, to_stride, r_done, c_done);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < r_done ? c_done : 0; c < cols; ++c) to[r * to_stride + c] = widen(from[c * c_stride + r]);
}

template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void copy_any(const stored_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols,
                               scalar_t* to, int64_t to_stride) {
  if (c_stride == 1 && (r_stride != 1 || cols >= rows)) return copy_lines(from, r_stride, rows, cols, to, to_stride);
  if (r_stride == 1) return transpose(from, c_stride, rows, cols, to, to_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) to[r * to_stride + c] = widen(from[r * r_stride + c * c_stride]);
}

// Overloads, because a template can't be cloned.
#define INFOTORCH_COPY(stored_t, scalar_t)                                                                 \
  INFOTORCH_CLONES void copy_clone(const stored_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, \
                                   int64_t cols, scalar_t* to, int64_t to_stride) {                        \
    copy_any(from, r_stride, c_stride, rows, cols, to, to_stride);                                         \
  }
INFOTORCH_COPY(float, float)
INFOTORCH_COPY(double, double)
INFOTORCH_COPY(BFloat16, float)
INFOTORCH_COPY(Float16, float)

// to[q * run + k] = from[at[q] + k], k < run.
template <int64_t run, typename stored_t, typename scalar_t>
void copy_runs(const stored_t* from, const int64_t* at, int64_t count, scalar_t* to) {
  for (int64_t q = 0; q < count; ++q, to += run) {
    scalar_t some[run];
    for (int64_t k = 0; k < run; ++k) some[k] = widen(from[at[q] + k]);
    for (int64_t k = 0; k < run; ++k) to[k] = some[k];
  }
}

// gather_runs() for columns whose last axis has `run` elements, side by side, or any if that is 1.
template <int64_t run, typename scalar_t>
void gather_runs(const Rows<scalar_t>& x, int64_t n, const Axes& r_axes, int64_t r0, int64_t rows, const Axes& c_axes,
                 int64_t c0, int64_t cols, scalar_t* to, int64_t to_stride) {
  constexpr int64_t most = 192;
  int64_t r_at[most], c_at[most];
  for_storage(x, [&](const auto* from) {
    for (int64_t c = 0; c < cols; c += most) {
      const int64_t wide = std::min(most, cols - c), head = std::min(wide, (c_axes.run(c0 + c) - 1) % run + 1) % run;
      const int64_t whole = (wide - head) / run, tail = head + whole * run;
      c_axes.offsets(c0 + c, wide, c_at);
      int64_t starts[most];
      for (int64_t q = 0; q < whole; ++q) starts[q] = c_at[head + q * run];
      for (int64_t r = 0; r < rows; r += most) {
        const int64_t tall = std::min(most, rows - r);
        r_axes.offsets(r0 + r, tall, r_at);
        for (int64_t i = 0; i < tall; ++i) {
          const auto* const row = from + n * x.n_stride + r_at[i];
          scalar_t* const to_row = to + (r + i) * to_stride + c;
          copy_runs<1>(row, c_at, head, to_row);
          copy_runs<run>(row, starts, whole, to_row + head);
          copy_runs<1>(row, c_at + tail, wide - tail, to_row + tail);
        }
      }
    }
  });
}

}  // namespace

template <typename scalar_t>
void gather_tile(const Rows<scalar_t>& x, int64_t n, const Axes& r_axes, int64_t r0, int64_t rows, const Axes& c_axes,
                 int64_t c0, int64_t cols, scalar_t* to, int64_t to_stride) {
  const bool threes = c_axes.step() == 1 && c_axes.run(0) == 3;
  const auto gather = threes ? gather_runs<3, scalar_t> : gather_runs<1, scalar_t>;
  gather(x, n, r_axes, r0, rows, c_axes, c0, cols, to, to_stride);
}

template <typename stored_t, typename scalar_t>
void copy_block(const stored_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                int64_t to_stride) {
  copy_clone(from, r_stride, c_stride, rows, cols, to, to_stride);
}

template <typename scalar_t>
void mirror_tile(scalar_t* x, int64_t stride, int64_t r0, int64_t rows, int64_t c0, int64_t cols) {
  constexpr int64_t edge = 16;  // of squares on the diagonal, which are turned number by number
  const auto turn = [&](int64_t r, int64_t tall, int64_t c, int64_t wide) {
    copy_block(x + r * stride + c, 1, stride, wide, tall, x + c * stride + r, stride);
  };
  if (c0 > r0) return turn(r0, rows, c0, cols);
  for (int64_t r = r0, end = r0 + rows, next; r < end; r = next) {
    next = std::min(r + edge, end);
    for (int64_t i = r; i < next; ++i)
      for (int64_t j = r; j < i; ++j) x[i * stride + j] = x[j * stride + i];
    if (next < end) turn(r, next - r, next, end - next);
  }
}

template void mirror_tile(float*, int64_t, int64_t, int64_t, int64_t, int64_t);
template void mirror_tile(double*, int64_t, int64_t, int64_t, int64_t, int64_t);
template void gather_tile(const Rows<float>&, int64_t, const Axes&, int64_t, int64_t, const Axes&, int64_t, int64_t,
                          float*, int64_t);
template void gather_tile(const Rows<double>&, int64_t, const Axes&, int64_t, int64_t, const Axes&, int64_t, int64_t,
                          double*, int64_t);
template void copy_block(const float*, int64_t, int64_t, int64_t, int64_t, float*, int64_t);
template void copy_block(const double*, int64_t, int64_t, int64_t, int64_t, double*, int64_t);
template void copy_block(const BFloat16*, int64_t, int64_t, int64_t, int64_t, float*, int64_t);
template void copy_block(const Float16*, int64_t, int64_t, int64_t, int64_t, float*, int64_t);

}  // namespace infotorch::cpu
