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

// out [rows, cols] = or += sum of y_k (x) x_k over k < terms. `pack_y(k0, depth, c0, cols, to)` writes elements c0 ...
// of y_k0 ... as strips, and pack_x those of x. `symmetric` states that y is x: then one triangle is computed, and out
// is symmetric to the bit, provided that it was before.
template <typename scalar_t, typename PackY, typename PackX>
void outer_sum(int64_t terms, int64_t rows, int64_t cols, bool symmetric, const PackY& pack_y, const PackX& pack_x,
               bool add, scalar_t* out) {
  constexpr int64_t most_edge = 256;       // of a tile: with the strips of both factors it stays in a 1 MiB cache
  constexpr int64_t tasks_wanted = 16;     // that keep all threads busy
  constexpr int64_t least_terms = 256;     // of a task
  const auto edge_of = [](int64_t size) {  // nearly equal tiles, of whole strips
    const int64_t each = ceil_div(size, std::max<int64_t>(1, ceil_div(size, most_edge)));
    return std::max<int64_t>(1, strips<scalar_t>(each)) * kStrip<scalar_t>;
  };
  const Tiling tiling = {rows, cols, edge_of(rows), edge_of(cols)};
  const int64_t edge_cols = tiling.edge_cols, size = tiling.edge_rows * edge_cols;
  std::vector<Tile> tiles;
  for (int64_t p = 0; p < tiling.count(); ++p)
    if (!symmetric || tiling[p].c0 >= tiling[p].r0) tiles.push_back(tiling[p]);
  const int64_t count = tiles.size(), most = std::max<int64_t>(1, terms / least_terms);
  const int64_t splits = std::clamp<int64_t>(ceil_div(tasks_wanted, std::max<int64_t>(1, count)), 1, most);
  const int64_t share = ceil_div(ceil_div(terms, splits), kStripDepth) * kStripDepth;

  // Writes a tile, unless it is in its place already, and its mirror image below the diagonal.
  const auto write = [&](const Tile& tile, const scalar_t* from) {
    const auto [r0, height, c0, width] = tile;
    const bool diagonal = symmetric && r0 == c0;
    for (int64_t r = 0; r < height && from; ++r) {
      const int64_t c = diagonal ? r : 0;
      scalar_t* const to = out + (r0 + r) * cols + c0;
      if (add)
        add_scaled(from + r * edge_cols + c, 1, width - c, to + c);
      else
        std::copy(from + r * edge_cols + c, from + r * edge_cols + width, to + c);
    }
    if (!symmetric) return;
    const scalar_t* const above = out + r0 * cols + c0;
    scalar_t* const below = out + c0 * cols + r0;
    if (!diagonal) return copy_block(above, 1, cols, width, height, below, cols);
    for (int64_t r = 1; r < height; ++r)
      for (int64_t c = 0; c < r; ++c) below[r * cols + c] = above[c * cols + r];
  };

  struct Worker {
    Scratch<scalar_t> y, x, tile;
  };
  const Scratch<scalar_t> partial(splits > 1 ? count * splits * size : 0);
  parallel_tasks(
      count * splits, 1,
      [&] {
        return Worker{Scratch<scalar_t>(tiling.edge_rows * kStripDepth), Scratch<scalar_t>(edge_cols * kStripDepth),
                      Scratch<scalar_t>(splits > 1 ? 0 : size)};
      },
      [&](int64_t task, Worker& worker) {
        const Tile& tile = tiles[task % count];
        const bool diagonal = symmetric && tile.r0 == tile.c0;
        const int64_t first = task / count * share, last = std::min(terms, first + share);
        // What is visited once, in whole vectors, needs no room beside the result.
        const bool direct = splits == 1 && !add && terms <= kStripDepth && tile.cols % kPad == 0;
        scalar_t* const to = direct       ? out + tile.r0 * cols + tile.c0
                             : splits > 1 ? partial.data + task * size
                                          : worker.tile.data;
        int64_t k = first;
        do {  // once even if there are no terms
          const int64_t depth = std::clamp<int64_t>(last - k, 0, kStripDepth);
          pack_y(k, depth, tile.r0, tile.rows, worker.y.data);
          if (!diagonal) pack_x(k, depth, tile.c0, tile.cols, worker.x.data);
          product<scalar_t>({diagonal ? worker.y.data : worker.x.data, depth}, tile.cols, {worker.y.data, depth},
                            tile.rows, diagonal, k > first, to, direct ? cols : edge_cols);
          k += kStripDepth;
        } while (k < last);
        if (splits == 1) write(tile, direct ? nullptr : to);
      });
  if (splits == 1) return;
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const Tile& tile = tiles[p];
      scalar_t* const sum = partial.data + p * size;
      for (int64_t r = 0; r < tile.rows; ++r)
        for (int64_t split = 1, c = symmetric && tile.r0 == tile.c0 ? r : 0; split < splits; ++split) {
          const int64_t at = r * edge_cols + c;
          add_scaled(sum + split * count * size + at, 1, tile.cols - c, sum + at);
        }
      write(tile, sum);
    }
  });
}

// out [width, width] = or += sum of x_k (x) x_k, symmetric to the bit.
template <typename scalar_t, typename Pack>
void second_moment(int64_t terms, int64_t width, const Pack& pack, bool add, scalar_t* out) {
  outer_sum(terms, width, width, true, pack, pack, add, out);
}

}  // namespace infotorch::cpu
