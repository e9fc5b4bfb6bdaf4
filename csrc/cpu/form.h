// Tiles of per-sample gradients, the step that every materializing kernel shares.
#pragma once

#include <cmath>

#include "../parallel.h"
#include "blas.h"
#include "product.h"
#include "reduce.h"

namespace infotorch::cpu {

// Of a tile: with its panels it stays in a 1 MiB cache, the smaller one beside as much again that it is multiplied by.
// Narrow layers have one tile.
constexpr int64_t kFormCols = 256, kFormArea = 112 * kFormCols, kSharedArea = 56 * kFormCols;
constexpr int64_t kTallest = 392;  // rows of a tile: their panel stays in a 2 MiB cache

// Positions between two visits to a tile: rows that are read in place stay in a 32 KiB cache.
constexpr int64_t kFormDepth = 128;

// A panel in place is packed all the same if its rows spread over more bytes than this: a tile walks through them again
// and again, and a processor remembers the addresses of some 64 pages of 4 KiB, half of them for each panel.
constexpr int64_t kFormSpread = int64_t{1} << 17;

// A tile with so many rows comes back to its columns' panel so often that packing it pays wherever it lies.
constexpr int64_t kFormTall = 168;

// Of a tile that nothing else shares the cache with. A larger one packs less, where rows spread too far to be read in
// place and all threads still have tiles.
inline int64_t form_area(const PairShape& s, int64_t bytes) {
  constexpr int64_t large = kTallest * kFormCols;
  const bool packs = std::min(s.T, kFormDepth) * std::max(s.I, s.O) * bytes > kFormSpread;
  const bool enough = s.N * s.O * s.I >= kTasks / 2 * large;
  return packs && enough && has_large_cache() ? large : kFormArea;
}

// Which features run along the rows of a formed tile, and which along its columns (the lanes of the product).
enum class Layout { out_by_in, in_by_out };

// What a layout costs a position: columns are rounded up to whole vectors, and may then be read in place.
inline int64_t layout_cost(const PairShape& s, Layout layout) {
  const auto whole = [](int64_t cols) { return ceil_div(cols, 2 * kPad) * 2 * kPad; };
  return layout == Layout::out_by_in ? whole(s.I) * s.O : whole(s.O) * s.I;
}

struct Tile {
  int64_t r0, rows, c0, cols;
  int64_t size() const { return rows * cols; }
};

// A matrix cut into tiles of at most `edge_rows` by `edge_cols`, in row-major order.
struct Tiling {
  int64_t rows, cols, edge_rows, edge_cols;

  int64_t across() const { return ceil_div(cols, edge_cols); }
  int64_t count() const { return ceil_div(rows, edge_rows) * across(); }

  Tile operator[](int64_t index) const {
    const int64_t r0 = index / across() * edge_rows, c0 = index % across() * edge_cols;
    return {r0, std::min(edge_rows, rows - r0), c0, std::min(edge_cols, cols - c0)};
  }
};

constexpr int64_t kStepRows = 14, kStepCols = 2 * kPad;  // of tiles: whole register tiles

// Nearly equal pieces of at most `most`, whole steps but for the last one.
inline int64_t even_piece(int64_t size, int64_t most, int64_t step) {
  const int64_t pieces = std::max<int64_t>(1, ceil_div(size, most));
  return std::max<int64_t>(1, std::min(size, ceil_div(ceil_div(size, pieces), step) * step));
}

// Tiles of at most `area` numbers and `most_cols` columns, whole register tiles high where they don't end the matrix:
// a narrow matrix has tall ones, and a small area does not make them flat.
inline Tiling tiles_of(int64_t rows, int64_t cols, int64_t area, int64_t most_cols) {
  constexpr int64_t least_rows = 56;
  const int64_t wide = std::max(kStepCols, std::min(most_cols, area / least_rows / kStepCols * kStepCols));
  const int64_t edge_cols = even_piece(cols, wide, kStepCols);
  const int64_t tallest = area > kFormArea ? kTallest : kTallest / 2;
  const int64_t most_rows = std::clamp(area / edge_cols / kStepRows * kStepRows, kStepRows, tallest);
  return {rows, cols, even_piece(rows, most_rows, kStepRows), edge_cols};
}

constexpr int64_t kSquaredRows = 16;  // at most, at once

// sum[r] = the squares of position t0 + r of x, which has one sample, the bias among them, r < count.
// `scratch` has room for them packed.
template <typename scalar_t>
void square_rows(const Rows<scalar_t>& x, int64_t t0, int64_t count, scalar_t* scratch, double* sum) {
  const int64_t width = x.i.total(), stride = panel_stride(width);
  Panel<scalar_t> panel = in_place(x, 0, t0, 0, width);
  if (!panel.data) {
    pack_features(x, 0, t0, count, 0, width, scratch, stride);
    panel = {scratch, stride};
  }
  std::fill(sum, sum + count, x.bias ? 1. : 0.);
  add_squares(panel.data, panel.stride, count, width, sum);
}

// Gradients by BLAS: from so few positions, and so small a tile, on. Those of bfloat16 are worth it sooner, as tiles of
// our own would have to widen them first.
constexpr int64_t kBlasDepth = 16, kBlasLeast = 1 << 13, kBlasLeastShort = 1 << 9;
constexpr int64_t kBlasLeastTile = 1 << 9;  // numbers of a single tile

constexpr int64_t kBlasEdge = 768;  // rows, or columns, of such a tile at most

// Numbers of such a tile, if so many of its size share a 2 MiB cache with what BLAS packs.
template <typename scalar_t>
constexpr int64_t blas_area(int64_t tiles) {
  constexpr int64_t bytes = int64_t{9} << 17;
  return bytes / (tiles * static_cast<int64_t>(sizeof(scalar_t)));
}

// Tiles of about `area` numbers, twice as wide as high but for layers that are flatter or narrower.
inline Tiling blas_tiles_of(int64_t rows, int64_t cols, int64_t area) {
  const auto wide = std::min(kBlasEdge, static_cast<int64_t>(std::sqrt(2. * area)));
  const int64_t high = std::clamp<int64_t>(area / even_piece(cols, wide, kStepCols), 1, kBlasEdge);
  const int64_t edge_rows = even_piece(rows, high, kPad);
  return {rows, cols, edge_rows, even_piece(cols, std::min(kBlasEdge, area / edge_rows), kStepCols)};
}

// Whether BLAS is the faster one for such a layer's gradients, of numbers stored so.
inline bool is_wide_for_blas(const PairShape& s, Storage storage) {
  const bool wide = s.I * s.O >= (storage == Storage::same ? kBlasLeast : kBlasLeastShort);
  return has_fast_blas(storage) && s.T >= kBlasDepth && wide && s.I <= INT32_MAX && s.O <= INT32_MAX;
}

// The same, of rows that lie as BLAS reads them.
template <typename scalar_t>
bool is_formed_by_blas(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b) {
  return is_wide_for_blas(s, a.storage) && stored(a, 0, 0, 0, a.i.total()).data && stored(b, 0, 0, 0, s.O).data;
}

// The cheaper one; BLAS has the longer rows where sides tie.
inline Layout cheaper_layout(const PairShape& s, bool by_blas) {
  if (by_blas) return s.I >= s.O ? Layout::out_by_in : Layout::in_by_out;
  const bool by_out = layout_cost(s, Layout::out_by_in) < layout_cost(s, Layout::in_by_out);
  return by_out ? Layout::out_by_in : Layout::in_by_out;
}

// sum[c] = the sum of features c0 ... c0 + cols over T positions of sample n. `panel` has room for kFormDepth of them.
template <typename scalar_t>
void sum_positions(const Rows<scalar_t>& x, int64_t n, int64_t T, int64_t c0, int64_t cols, scalar_t* panel,
                   double* sum) {
  std::fill_n(sum, cols, 0.);
  for (int64_t t = 0; t < T; t += kFormDepth) {
    const int64_t depth = std::min(kFormDepth, T - t);
    const Panel<scalar_t> rows = features(x, n, t, depth, c0, cols, 1, panel);
    add_rows(rows.data, rows.stride, depth, cols, sum);
  }
}

// Room for the panels of one thread: rows of kFormDepth positions, or of more where BLAS may need them packed.
template <typename scalar_t>
struct FormScratch : Scratch<scalar_t> {
  explicit FormScratch(const Tiling& t, int64_t depth = kFormDepth)
      : Scratch<scalar_t>(std::max(depth, kFormDepth) * (panel_stride(t.edge_rows) + panel_stride(t.edge_cols))) {}
};

template <typename scalar_t>
class Former {
 public:
  // `seeds` rows of b in turn belong to one sample of a. `by_blas`: BLAS forms gradients; rows that don't lie as it
  // reads them are packed for it, min(T, kBlasTerms) at a time.
  Former(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, Layout layout, bool by_blas,
         int64_t seeds = 1)
      : by_blas(by_blas),
        rows(layout == Layout::out_by_in ? shape.O : shape.I),
        cols(layout == Layout::out_by_in ? shape.I : shape.O),
        N(shape.N),
        T(shape.T),
        y(layout == Layout::out_by_in ? Side{b, 1} : Side{a, seeds}),
        x(layout == Layout::out_by_in ? Side{a, seeds} : Side{b, 1}),
        seeds(seeds) {}

  // out[r, c] = the gradient of sample n in `tile`. Asks memory for the next sample's meanwhile. With
  // Into::squares the gradient's squares are added to `squares`, and out is used where there are more than kFormDepth
  // positions.
  void operator()(int64_t n, const Tile& tile, const FormScratch<scalar_t>& panels, scalar_t* out, int64_t out_stride,
                  Into into = Into::place, scalar_t* squares = nullptr) const {
    (*this)(n, 1, tile, panels, out, 0, out_stride, into, squares);
  }

  // The same of rows n ... n + count of b, `hop` numbers apart, which have one row of a: it is packed once. Only a
  // single row has squares.
  void operator()(int64_t n, int64_t count, const Tile& tile, const FormScratch<scalar_t>& panels, scalar_t* out,
                  int64_t hop, int64_t out_stride, Into into = Into::place, scalar_t* squares = nullptr) const {
    if (by_blas && tile.size() >= kBlasLeastTile) {
      for (int64_t row = n; row < n + count; ++row)
        multiply_by_blas(row, tile, panels, out + (row - n) * hop, out_stride);
      return;
    }
    scalar_t* const y_panel = panels.data;
    scalar_t* const x_panel = y_panel + kFormDepth * panel_stride(tile.rows);
    const int64_t step = ceil_div(T, std::max<int64_t>(1, ceil_div(T, kFormDepth)));
    int64_t t = 0;
    do {  // once even if T = 0, when the gradient is zero
      const int64_t depth = std::min(step, T - t);
      const bool more = t + depth < T;  // then the next positions are asked for, else the next sample
      Panel<scalar_t> left = {}, right = {};
      for (int64_t row = n; row < n + count; ++row) {
        Ahead next;
        const auto panel = [&](const Side& side, int64_t c0, int64_t wide, int64_t pad, scalar_t* packed) {
          const Rows<scalar_t>& rows = side.rows;
          const int64_t at = row / side.seeds;
          const Panel<scalar_t> lying = in_place(rows, at, t, c0, wide);
          if (lying.data && (more || at + 1 < N * seeds / side.seeds))
            next.add(
                Ahead::of(lying.shifted(more ? depth * lying.stride : rows.n_stride - t * lying.stride), wide, depth));
          const Panel<scalar_t> found = features(rows, at, t, depth, c0, wide, pad, packed);
          if (found.data == packed) return found;
          const int64_t spread = depth * found.stride * static_cast<int64_t>(sizeof(scalar_t));
          if (spread <= kFormSpread && (pad == 1 || tile.rows < kFormTall)) return found;
          copy_block(found.data, found.stride, 1, depth, pad == 1 ? wide : padded(wide), packed, panel_stride(wide));
          return Panel<scalar_t>{packed, panel_stride(wide)};
        };
        if (row == n || y.seeds == 1) left = panel(y, tile.r0, tile.rows, 1, y_panel);
        if (row == n || x.seeds == 1) right = panel(x, tile.c0, tile.cols, kPad, x_panel);
        product(right, tile.cols, left, tile.rows, depth, t > 0, out + (row - n) * hop, out_stride, kEverything, &next,
                more ? Into::place : into, squares);
      }
      t += depth;
    } while (t < T);
  }

  // Tiles of at most `area` numbers and `most_cols` columns, or of about `area_by_blas` where BLAS forms them.
  Tiling tiling(int64_t area, int64_t most_cols, int64_t area_by_blas) const {
    const bool large = by_blas && area_by_blas >= kBlasLeast;
    return large ? blas_tiles_of(rows, cols, area_by_blas) : tiles_of(rows, cols, area, most_cols);
  }

  const bool by_blas;
  const int64_t rows, cols;

 private:
  // A row of it serves `seeds` gradients in turn.
  struct Side {
    Rows<scalar_t> rows;
    int64_t seeds;
  };

  // out = the gradient of row n in `tile`.
  void multiply_by_blas(int64_t n, const Tile& tile, const FormScratch<scalar_t>& panels, scalar_t* out,
                        int64_t out_stride) const {
    const int64_t x_n = n / x.seeds, y_n = n / y.seeds;
    const int64_t real_rows = std::min(tile.rows, y.rows.i.total() - tile.r0);  // the bias comes behind them
    const int64_t real_cols = std::min(tile.cols, x.rows.i.total() - tile.c0);
    for (int64_t t = 0; t < T && real_rows > 0 && real_cols > 0; t += kBlasTerms) {
      const int64_t depth = std::min(kBlasTerms, T - t);
      scalar_t* const x_panel = panels.data + depth * panel_stride(real_rows);
      const Stored left = as_stored(y.rows, y_n, t, depth, tile.r0, real_rows, panels.data);
      const Stored right = as_stored(x.rows, x_n, t, depth, tile.c0, real_cols, x_panel);
      blas_product(right, real_cols, left, real_rows, depth, t > 0, out, out_stride);
    }
    double sum[kBlasEdge];
    if (real_cols < tile.cols) {
      sum_positions(y.rows, y_n, T, tile.r0, tile.rows, panels.data, sum);
      for (int64_t r = 0; r < tile.rows; ++r) out[r * out_stride + real_cols] = static_cast<scalar_t>(sum[r]);
    }
    if (real_rows < tile.rows) {
      sum_positions(x.rows, x_n, T, tile.c0, tile.cols, panels.data, sum);
      std::copy_n(sum, tile.cols, out + real_rows * out_stride);
    }
  }

  const int64_t N, T;
  const Side y, x;
  const int64_t seeds;
};

}  // namespace infotorch::cpu
