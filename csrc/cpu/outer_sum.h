// Sums of outer products, sum_k y_k (x) x_k, over more terms than a cache holds: each tile of the result packs what it
// needs of both factors.
#pragma once

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "reduce.h"
#include "strips.h"

namespace infotorch::cpu {

// Features c0 ... of positions k0 ... of x, which has one sample, as strips.
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

// out [rows, cols] = or += sum of y_k (x) x_k over k < terms. `pack_y(k0, depth, c0, cols, to)` writes elements c0 ...
// of y_k0 ... as strips, and pack_x those of x. `symmetric` states that y is x: then one triangle is computed, and out
// is symmetric to the bit, provided that it was before.
template <typename scalar_t, typename PackY, typename PackX>
void outer_sum(int64_t terms, int64_t rows, int64_t cols, bool symmetric, const PackY& pack_y, const PackX& pack_x,
               bool add, scalar_t* out) {
  constexpr int64_t most_edge = 256;       // of a tile: with the strips of both factors it stays in a 1 MiB cache
  constexpr int64_t least_terms = 1024;    // of a task
  constexpr int64_t many_terms = 1 << 16;  // of all tasks for a tile: then they are split further, to stay exact
  const auto edge_of = [](int64_t size) {  // nearly equal tiles, of whole strips
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
  const int64_t splits = std::clamp<int64_t>(ceil_div(wanted, std::max<int64_t>(1, count)), 1, most);
  const int64_t share = ceil_div(ceil_div(terms, splits), kStripDepth) * kStripDepth;

  struct Worker {
    Scratch<scalar_t> y, x, tile;
  };
  const Scratch<scalar_t> partial(splits > 1 ? count * splits * size : 0);
  parallel_tasks(
      count * splits, 1,
      [&] {
        return Worker{Scratch<scalar_t>(tiling.edge_rows * kStripDepth), Scratch<scalar_t>(stride * kStripDepth),
                      Scratch<scalar_t>(splits > 1 ? 0 : size)};
      },
      [&](int64_t task, Worker& worker) {
        const Tile& tile = tiles[task % count];
        const TileOfSum<scalar_t> target = {tile, symmetric, out, cols};
        const int64_t first = task / count * share, last = std::min(terms, first + share);
        // What is visited once, in whole vectors, needs no room beside the result.
        const bool direct = splits == 1 && !add && terms <= kStripDepth && tile.cols % kPad == 0;
        scalar_t* const to = direct ? target.place() : splits > 1 ? partial.data + task * size : worker.tile.data;
        int64_t k = first;
        do {  // once even if there are no terms
          const int64_t depth = std::clamp<int64_t>(last - k, 0, kStripDepth);
          pack_y(k, depth, tile.r0, tile.rows, worker.y.data);
          if (!target.on_diagonal()) pack_x(k, depth, tile.c0, tile.cols, worker.x.data);
          product<scalar_t>({target.on_diagonal() ? worker.y.data : worker.x.data, depth}, tile.cols,
                            {worker.y.data, depth}, tile.rows, target.on_diagonal(), k > first, to,
                            direct ? cols : stride);
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
template <typename scalar_t, typename Pack>
void second_moment(int64_t terms, int64_t width, const Pack& pack, bool add, scalar_t* out) {
  outer_sum(terms, width, width, true, pack, pack, add, out);
}

}  // namespace infotorch::cpu
