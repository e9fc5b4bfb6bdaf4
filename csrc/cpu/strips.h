// Panels in strips: both sides of a product that is long in every direction. A strip is read in one straight line, so
// rows don't compete for the same cache sets and pages, as the rows of a wide panel do.
#pragma once

#include "product.h"

namespace infotorch::cpu {

template <typename scalar_t>
constexpr int64_t kStrip = 128 / sizeof(scalar_t);  // columns: two cache lines

constexpr int64_t kStripDepth = 128;  // terms of a sum between two visits to the result: two strips stay in cache

template <typename scalar_t>
constexpr int64_t strips(int64_t cols) {
  return ceil_div(cols, kStrip<scalar_t>);
}

// [strip, depth, kStrip]; columns beyond the last hold zeros.
template <typename scalar_t>
struct Strips {
  const scalar_t* data;
  int64_t depth;

  Panel<scalar_t> at(int64_t strip, int64_t k) const {
    return {data + (strip * depth + k) * kStrip<scalar_t>, kStrip<scalar_t>};
  }
  Strips from(int64_t strip) const { return {at(strip, 0).data, depth}; }

  // Terms k ... of the first columns, both lines of every row.
  void ask(int64_t cols, int64_t k, Ahead& ahead) const {
    constexpr int64_t row = 2 * Ahead::kLine;
    const char* at_k = reinterpret_cast<const char*>(at(0, k).data);
    for (int64_t line = 0; line < 2; ++line)
      ahead.add({at_k + line * Ahead::kLine, row, depth * row, strips<scalar_t>(cols)});
  }
};

template <typename scalar_t>
void fill_beyond(int64_t cols, int64_t depth, scalar_t* strip) {
  constexpr int64_t width = kStrip<scalar_t>;
  for (int64_t k = 0; k < depth && cols < width; ++k)
    std::fill(strip + k * width + cols, strip + (k + 1) * width, scalar_t(0));
}

// Positions t0 ... of sample n, and their features k0 ..., as strips.
template <typename scalar_t>
void pack_strips(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t cols, int64_t k0, int64_t depth,
                 scalar_t* to) {
  constexpr int64_t width = kStrip<scalar_t>;
  for (int64_t c = 0; c < cols; c += width, to += depth * width) {
    const int64_t here = std::min(width, cols - c);
    pack_positions(x, n, t0 + c, here, k0, depth, to, width);
    fill_beyond(here, depth, to);
  }
}

// The same of the rows of a matrix, `stride` apart.
template <typename scalar_t>
void transpose_strips(const scalar_t* from, int64_t stride, int64_t rows, int64_t depth, scalar_t* to) {
  constexpr int64_t width = kStrip<scalar_t>;
  for (int64_t r = 0; r < rows; r += width, to += depth * width) {
    const int64_t here = std::min(width, rows - r);
    copy_block(from + r * stride, 1, stride, depth, here, to, width);
    fill_beyond(here, depth, to);
  }
}

// out[r, c] = or += sum_k y[k, r] x[k, c], r < rows, c < cols, k < depth. Writes whole vectors of columns, up to
// padded(cols). `triangle` states that x is y: then what is wholly below the diagonal stays as it was. The next terms
// are asked for meanwhile, and `after` with the last ones.
template <typename scalar_t>
void product(const Strips<scalar_t>& x, int64_t cols, const Strips<scalar_t>& y, int64_t rows, bool triangle, bool add,
             scalar_t* out, int64_t out_stride, const Ahead& after = {}) {
  constexpr int64_t width = kStrip<scalar_t>;
  int64_t k = 0;
  do {  // once even if there are no terms
    const int64_t depth = std::min(kStripDepth, x.depth - k);
    Ahead next = after;
    if (k + depth < x.depth) {
      next = {};
      y.ask(rows, k + depth, next);
      if (!triangle) x.ask(cols, k + depth, next);
    }
    for (int64_t r = 0; r < rows; r += width)
      for (int64_t c = triangle ? r : 0; c < cols; c += width)
        product(x.at(c / width, k), std::min(width, padded(cols - c)), y.at(r / width, k), std::min(width, rows - r),
                depth, add || k > 0, out + r * out_stride + c, out_stride, triangle && c == r ? 0 : kEverything, &next);
    k += kStripDepth;
  } while (k < x.depth);
}

}  // namespace infotorch::cpu
