// Tiles of positions by positions, the step that every gram-form kernel shares: a a2^T and b b2^T, whose elementwise
// product summed over two samples' positions is <G[n], G2[m]>.
#pragma once

#include "blas.h"
#include "dots.h"
#include "reduce.h"
#include "strips.h"

namespace infotorch::cpu {

constexpr int64_t kTileStrips = 4;  // of a tile's edges

// Positions begin ... begin + count of samples that have T positions each.
struct Span {
  int64_t begin, count, T;
};

template <typename scalar_t>
class PositionTile {
 public:
  static constexpr int64_t kEdge = kTileStrips * kStrip<scalar_t>;
  static constexpr int64_t kSlice = 4096 / sizeof(scalar_t);  // features that form_positions takes at once
  static constexpr int64_t kVisits = 32;                      // slices added up before their sum is added to others
  static constexpr int64_t kScratch = 2 * kEdge * panel_stride(kSlice) + kEdge * kEdge;  // of both sides, and a sum

  PositionTile() : storage(2 * kEdge * kEdge + kEdge), aa(storage.data), bb(aa + kEdge * kEdge) {}

  // aa = a a2^T and bb = b b2^T. `triangle` states that both sides are one, and leaves out what is below the diagonal.
  void form(const Strips<scalar_t>& a, const Strips<scalar_t>& a2, const Strips<scalar_t>& b,
            const Strips<scalar_t>& b2, int64_t rows, int64_t cols, bool triangle) {
    product(a2, cols, a, rows, triangle, false, aa, kEdge);
    product(b2, cols, b, rows, triangle, false, bb, kEdge);
  }

  // total[n, m] += what the tile has of <G[n], G2[m]>; samples are counted from where position 0 belongs. `same` states
  // that both sides are one set, of which only tiles on the diagonal and above are ever formed: what lies above it
  // stands for its mirror image too.
  void add_to(const Span& rows, const Span& cols, bool same, double* total, int64_t total_stride) const {
    const bool triangle = same && rows.begin == cols.begin;
    scalar_t* const sums = bb + kEdge * kEdge;
    for (int64_t r = 0, r_end; r < rows.count; r = r_end) {
      const int64_t n = (rows.begin + r) / rows.T;
      r_end = std::min(rows.count, (n + 1) * rows.T - rows.begin);
      int64_t c = 0, c_end;
      if (triangle) {
        total[n * total_stride + n] += self(r, r_end);
        c = r_end;
      }
      std::fill(sums + c, sums + cols.count, scalar_t(0));
      add_column_dots(aa + r * kEdge + c, bb + r * kEdge + c, kEdge, r_end - r, cols.count - c, sums + c);
      for (; c < cols.count; c = c_end) {
        const int64_t m = (cols.begin + c) / cols.T;
        c_end = std::min(cols.count, (m + 1) * cols.T - cols.begin);
        double sum = 0;
        for (int64_t k = c; k < c_end; ++k) sum += sums[k];
        total[n * total_stride + m] += same && n == m ? 2 * sum : sum;
      }
    }
  }

 private:
  // Positions r ... r_end by themselves, of a triangle.
  double self(int64_t r, int64_t r_end) const {
    double sum = 0;
    for (; r < r_end; ++r) {
      const int64_t at = r * kEdge + r;
      sum += 2 * dot(aa + at, bb + at, r_end - r) - static_cast<double>(aa[at]) * bb[at];
    }
    return sum;
  }

  const Scratch<scalar_t> storage;  // aa, bb and one row of sums

 public:
  scalar_t *const aa, *const bb;  // [kEdge, kEdge]
};

// Rows of `count` features from k0 on, where they lie or in `scratch`, with zeros up to a multiple of kPad.
template <typename scalar_t>
Panel<scalar_t> rows_of(const Rows<scalar_t>& x, int64_t n, const Span& span, int64_t k0, int64_t count,
                        scalar_t* scratch) {
  const Panel<scalar_t> lying = in_place(x, n, span.begin, k0, count);
  if (lying.data && count % kPad == 0) return lying;
  pack_features(x, n, span.begin, span.count, k0, count, scratch, panel_stride(count));
  return {scratch, panel_stride(count)};
}

// out [kEdge, kEdge] = positions `rows` of sample n of x by positions `cols` of sample m of y, summed over features
// first ... last, and 1 for a bias with the first ones; `scratch` has kScratch numbers. `triangle` as above. Asks
// memory for the next sample of x meanwhile, if there is one and it lies behind this one in one piece.
template <typename scalar_t>
void form_features(const Rows<scalar_t>& x, int64_t n, const Span& rows, const Rows<scalar_t>& y, int64_t m,
                   const Span& cols, int64_t first, int64_t last, bool triangle, bool more, scalar_t* scratch,
                   scalar_t* out) {
  using Tile = PositionTile<scalar_t>;
  const bool ones = x.bias && first == 0;
  if (x.storage != Storage::same && has_fast_blas(x.storage)) {  // tiles of our own would have to widen rows
    Stored left = stored(x, n, rows.begin, first, last - first), right = stored(y, m, cols.begin, first, last - first);
    if (left.data && right.data) {
      left.turned = right.turned = true;
      if (ones) std::fill(out, out + rows.count * Tile::kEdge, scalar_t(1));
      return blas_product(right, cols.count, left, rows.count, last - first, ones, out, Tile::kEdge);
    }
  }
  constexpr int64_t lanes = Ahead::kLine / sizeof(scalar_t), many = Tile::kVisits * Tile::kSlice;
  if (last - first > many) {
    scalar_t* const some = scratch + 2 * Tile::kEdge * panel_stride(Tile::kSlice);
    for (int64_t k = first; k < last; k += many) {
      scalar_t* const to = k == first ? out : some;
      form_features(x, n, rows, y, m, cols, k, std::min(last, k + many), triangle, more, scratch, to);
      for (int64_t r = 0; r < rows.count && to == some; ++r) {
        const int64_t c = triangle ? r : 0, at = r * Tile::kEdge + c;
        add_scaled(some + at, 1, cols.count - c, out + at);
      }
    }
    return;
  }
  if (ones) std::fill(out, out + rows.count * Tile::kEdge, scalar_t(1));
  for (int64_t k = first, count; k < last; k += count) {
    count = std::min(Tile::kSlice, last - k);
    if (count > kPad) count -= count % kPad;
    const Panel<scalar_t> left = rows_of(x, n, rows, k, count, scratch);
    const Panel<scalar_t> right =
        triangle ? left : rows_of(y, m, cols, k, count, scratch + Tile::kEdge * panel_stride(Tile::kSlice));
    Ahead next;
    if (more && rows.count == rows.T && x.n_stride == rows.T * x.i.total())
      next.add(
          Ahead::linear(x.at((n + 1) * x.n_stride + rows.T * k), rows.T * count * x.bytes(), padded(count) / lanes));
    row_products(left, rows.count, right, cols.count, padded(count), triangle, ones || k > first, out, Tile::kEdge,
                 next);
  }
}

// The same of all features.
template <typename scalar_t>
void form_positions(const Rows<scalar_t>& x, int64_t n, const Span& rows, const Rows<scalar_t>& y, int64_t m,
                    const Span& cols, bool triangle, bool more, scalar_t* scratch, scalar_t* out) {
  form_features(x, n, rows, y, m, cols, 0, x.i.total(), triangle, more, scratch, out);
}

}  // namespace infotorch::cpu
