// Tiles of per-sample gradients, the step that every materializing kernel shares.
#pragma once

#include "product.h"

namespace infotorch::cpu {

// Which features run along the rows of a formed tile, and which along its columns (the lanes of the product).
enum class Layout { out_by_in, in_by_out };

// The cheaper one: columns are rounded up to whole vectors, and may then be read in place.
inline Layout cheaper_layout(const PairShape& s) {
  const auto whole = [](int64_t cols) { return ceil_div(cols, 2 * kPad) * 2 * kPad; };
  return whole(s.I) * s.O < whole(s.O) * s.I ? Layout::out_by_in : Layout::in_by_out;
}

template <typename scalar_t>
class Former {
 public:
  Former(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, Layout layout)
      : rows(layout == Layout::out_by_in ? shape.O : shape.I),
        cols(layout == Layout::out_by_in ? shape.I : shape.O),
        T(shape.T),
        y(layout == Layout::out_by_in ? b : a),
        x(layout == Layout::out_by_in ? a : b) {}

  static int64_t scratch_size(int64_t most_rows, int64_t most_cols) {
    return kDepth * (panel_stride(most_rows) + panel_stride(most_cols));
  }

  // out[r, c] = the gradient of sample n at rows r0 ... and columns c0 ....
  void operator()(int64_t n, int64_t r0, int64_t num_rows, int64_t c0, int64_t num_cols, scalar_t* scratch,
                  scalar_t* out, int64_t out_stride) const {
    scalar_t* x_scratch = scratch + kDepth * panel_stride(num_rows);
    int64_t t = 0;
    do {  // once even if T = 0, when the gradient is zero
      const int64_t depth = std::min(kDepth, T - t);
      const Panel<scalar_t> left = features(y, n, t, depth, r0, num_rows, 1, scratch);
      const Panel<scalar_t> right = features(x, n, t, depth, c0, num_cols, kPad, x_scratch);
      product(right, num_cols, left, num_rows, depth, t > 0, out, out_stride);
      t += kDepth;
    } while (t < T);
  }

  const int64_t rows, cols;

 private:
  const int64_t T;
  const Rows<scalar_t> y, x;
};

// A gradient cut into tiles of at most `edge_rows` by `edge_cols`, in row-major order.
struct Tiling {
  int64_t rows, cols, edge_rows, edge_cols;

  int64_t across() const { return ceil_div(cols, edge_cols); }
  int64_t count() const { return ceil_div(rows, edge_rows) * across(); }

  struct Tile {
    int64_t r0, rows, c0, cols;
  };
  Tile tile(int64_t index) const {
    const int64_t r0 = index / across() * edge_rows, c0 = index % across() * edge_cols;
    return {r0, std::min(edge_rows, rows - r0), c0, std::min(edge_cols, cols - c0)};
  }
};

}  // namespace infotorch::cpu
