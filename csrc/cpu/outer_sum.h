// Sums of outer products, sum_k y_k (x) x_k, over more terms than a cache holds: each tile of the result packs what it
// needs of both factors.
#pragma once

#include <type_traits>
#include <vector>

#include "../parallel.h"
#include "form.h"
#include "reduce.h"
#include "strips.h"

namespace infotorch::cpu {

// Elements c0 ... of terms k0 ... of x, which has one sample, as strips.
template <typename scalar_t>
void pack_feature_strips(const Rows<scalar_t>& x, int64_t k0, int64_t depth, int64_t c0, int64_t cols, scalar_t* to) {
  constexpr int64_t width = kStrip<scalar_t>;
  for (int64_t c = 0; c < cols; c += width, to += depth * width) {
    const int64_t here = std::min(width, cols - c);
    pack_features(x, 0, k0, depth, c0 + c, here, to, width);
    fill_beyond(here, depth, to);
  }
}

// One tile of a sum of outer products, and where it goes: out [.., cols], of which one triangle is computed if it is
// symmetric.
template <typename scalar_t>
struct TileOfSum {
  const Tile& tile;
  bool symmetric;
  scalar_t* out;
  int64_t cols;

  bool on_diagonal() const { return symmetric && tile.r0 == tile.c0; }
  int64_t first_col(int64_t r) const { return on_diagonal() ? r : 0; }
  scalar_t* place() const { return out + tile.r0 * cols + tile.c0; }

  // The place = or += `from`, whose rows lie `stride` apart.
  void write(const scalar_t* from, int64_t stride, bool add) const {
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t c = first_col(r);
      scalar_t* const to = place() + r * cols + c;
      if (add)
        add_scaled(from + r * stride + c, 1, tile.cols - c, to);
      else
        std::copy(from + r * stride + c, from + r * stride + tile.cols, to);
    }
  }

  // sum += the parts behind it, `hop` numbers apart, from left to right.
  void fold(scalar_t* sum, int64_t stride, int64_t parts, int64_t hop) const {
    for (int64_t r = 0; r < tile.rows; ++r)
      for (int64_t part = 1, at = r * stride + first_col(r); part < parts; ++part)
        add_scaled(sum + part * hop + at, 1, tile.cols - first_col(r), sum + at);
  }

  void mirror() const {
    if (symmetric) mirror_tile(out, cols, tile.r0, tile.rows, tile.c0, tile.cols);
  }
};

struct Unchanged {
  template <typename scalar_t>
  void operator()(int64_t, int64_t, int64_t, scalar_t*) const {}
};

constexpr int64_t kPackedTerms = 256;  // packed at once, of factors that are changed or don't lie as BLAS reads them

constexpr int64_t kBlasLeastSum = 1 << 12;  // numbers of a sum that BLAS forms

// Whether BLAS sums outer products of such factors.
template <typename scalar_t>
bool is_summed_by_blas(int64_t terms, const Rows<scalar_t>& y, int64_t rows, int64_t cols) {
  const bool wide = rows * cols >= kBlasLeastSum && cols <= INT32_MAX;
  return y.storage == Storage::same && has_fast_blas(Storage::same) && terms >= kBlasDepth && wide;
}

// out = or += the sum over terms first ... last of one tile, by BLAS; each panel has room for kPackedTerms.
template <typename scalar_t, typename ChangeY, typename ChangeX>
void sum_by_blas(const Tile& tile, int64_t first, int64_t last, const Rows<scalar_t>& y, const ChangeY& change_y,
                 scalar_t* y_panel, const Rows<scalar_t>& x, const ChangeX& change_x, scalar_t* x_panel, bool add,
                 scalar_t* out, int64_t out_stride) {
  int64_t k = first;
  do {  // once even if there are no terms
    const int64_t depth = std::clamp<int64_t>(last - k, 0, kPackedTerms);
    const auto factor = [&](const Rows<scalar_t>& from, int64_t c0, int64_t cols, const auto& change, scalar_t* panel) {
      const bool unchanged = std::is_same_v<decltype(change), const Unchanged&>;
      const Stored lying = unchanged ? stored(from, 0, k, c0, cols) : Stored();
      if (lying.data) return lying;
      pack_features(from, 0, k, depth, c0, cols, panel, padded(cols));
      change(k, depth, padded(cols), panel);
      return Stored{panel, padded(cols)};
    };
    blas_product(factor(x, tile.c0, tile.cols, change_x, x_panel), tile.cols,
                 factor(y, tile.r0, tile.rows, change_y, y_panel), tile.rows, depth, add || k > first, out, out_stride);
    k += kPackedTerms;
  } while (k < last);
}

// out [rows, cols] = or += sum of y_k (x) x_k over k < terms, the positions of the one sample of either side.
// `change_y(k0, depth, width, to)` may change some columns of terms k0 ..., packed as to [depth, width], and change_x
// those of x. `symmetric` states that y is x: then one triangle is computed, and out is symmetric to the bit, provided
// that it was before.
template <typename scalar_t, typename ChangeY, typename ChangeX>
void outer_sum(int64_t terms, const Rows<scalar_t>& y, int64_t rows, const ChangeY& change_y, const Rows<scalar_t>& x,
               int64_t cols, const ChangeX& change_x, bool symmetric, bool add, scalar_t* out) {
  const bool by_blas = !symmetric && is_summed_by_blas(terms, y, rows, cols);
  const int64_t most_edge = has_large_cache() ? 384 : 256;  // of a tile, which stays in that cache with both strips
  constexpr int64_t least_terms = 1024;                     // of a task
  constexpr int64_t many_terms = 1 << 16;  // of all tasks for a tile: then they are split further, to stay exact
  constexpr int64_t partial_size = int64_t{1} << 22;  // numbers in all partial results
  const auto edge_of = [most_edge](int64_t size) {    // nearly equal tiles, of whole strips
    const int64_t each = ceil_div(size, std::max<int64_t>(1, ceil_div(size, most_edge)));
    return std::max<int64_t>(1, strips<scalar_t>(each)) * kStrip<scalar_t>;
  };
  const Tiling tiling = {rows, cols, edge_of(rows), edge_of(cols)};
  const int64_t stride = tiling.edge_cols, size = tiling.edge_rows * stride;
  std::vector<Tile> tiles;
  for (int64_t p = 0; p < tiling.count(); ++p)
    if (!symmetric || tiling[p].c0 >= tiling[p].r0) tiles.push_back(tiling[p]);
  const int64_t count = tiles.size(), most = std::max<int64_t>(1, terms / least_terms);
  const int64_t wanted = std::max(kTasks, terms / many_terms);
  const int64_t fit = std::max<int64_t>(1, partial_size / std::max<int64_t>(1, count * size));
  const int64_t splits = std::clamp<int64_t>(ceil_div(wanted, std::max<int64_t>(1, count)), 1, std::min(most, fit));
  const int64_t share = ceil_div(ceil_div(terms, splits), kStripDepth) * kStripDepth;

  struct Worker {
    Scratch<scalar_t> y, x, tile;
  };
  const Scratch<scalar_t> partial(splits > 1 ? count * splits * size : 0);
  parallel_tasks(
      count * splits, 1,
      [&] {
        const int64_t depth = by_blas ? kPackedTerms : kStripDepth;
        return Worker{Scratch<scalar_t>(tiling.edge_rows * depth), Scratch<scalar_t>(stride * depth),
                      Scratch<scalar_t>(splits > 1 || by_blas ? 0 : size)};
      },
      [&](int64_t task, Worker& worker) {
        const Tile& tile = tiles[task % count];
        const TileOfSum<scalar_t> target = {tile, symmetric, out, cols};
        const int64_t first = task / count * share, last = std::min(terms, first + share);
        if (by_blas)
          return sum_by_blas(tile, first, last, y, change_y, worker.y.data, x, change_x, worker.x.data,
                             add && splits == 1, splits > 1 ? partial.data + task * size : target.place(),
                             splits > 1 ? stride : cols);
        // A short sum has one split; visited a few times, whole vectors need no room beside the result.
        const bool direct = !add && terms < least_terms && tile.cols % kPad == 0;
        scalar_t* const to = direct ? target.place() : splits > 1 ? partial.data + task * size : worker.tile.data;
        int64_t k = first;
        do {  // once even if there are no terms
          const int64_t depth = std::clamp<int64_t>(last - k, 0, kStripDepth);
          const int64_t more = std::min(kStripDepth, last - k - depth);
          Ahead next;
          const auto pack = [&](const Rows<scalar_t>& from, int64_t c0, int64_t width, const auto& change,
                                scalar_t* strip) {
            pack_feature_strips(from, k, depth, c0, width, strip);
            for (int64_t p = 0; p < strips<scalar_t>(width); ++p)
              change(k, depth, kStrip<scalar_t>, strip + p * depth * kStrip<scalar_t>);
            const Panel<scalar_t> lying = more > 0 ? in_place(from, 0, k + depth, c0, width) : Panel<scalar_t>{};
            if (lying.data) next.add(Ahead::of(lying, width, more));
          };
          pack(y, tile.r0, tile.rows, change_y, worker.y.data);
          if (!target.on_diagonal()) pack(x, tile.c0, tile.cols, change_x, worker.x.data);
          product<scalar_t>({target.on_diagonal() ? worker.y.data : worker.x.data, depth}, tile.cols,
                            {worker.y.data, depth}, tile.rows, target.on_diagonal(), k > first, to,
                            direct ? cols : stride, next);
          k += kStripDepth;
        } while (k < last);
        if (splits > 1) return;
        if (!direct) target.write(to, stride, add);
        target.mirror();
      });
  if (splits == 1) return;
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const TileOfSum<scalar_t> target = {tiles[p], symmetric, out, cols};
      scalar_t* const sum = partial.data + p * size;
      target.fold(sum, stride, splits, count * size);
      target.write(sum, stride, add);
      target.mirror();
    }
  });
}

// out [width, width] = or += sum of x_k (x) x_k, symmetric to the bit.
template <typename scalar_t>
void second_moment(int64_t terms, const Rows<scalar_t>& x, int64_t width, bool add, scalar_t* out) {
  outer_sum(terms, x, width, Unchanged(), x, width, Unchanged(), true, add, out);
}

}  // namespace infotorch::cpu
