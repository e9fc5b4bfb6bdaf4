// The materializing form of gram: some tiles of the gradients of all samples, and their product.
#pragma once

#include <vector>

#include "../gram.h"
#include "../parallel.h"
#include "dots.h"
#include "form.h"
#include "reduce.h"
#include "strips.h"

namespace infotorch::cpu {

// Some tiles of the gradients of a set of samples, one behind the other: [N, depth].
template <typename scalar_t>
class Chunk {
 public:
  Chunk(const Samples<scalar_t, Rows<scalar_t>>& set, Layout layout, int64_t depth)
      : form(set.shape, set.a, set.b, layout, is_formed_by_blas(set.shape, set.a, set.b)),
        stride(panel_stride(depth)),
        storage(set.shape.N * stride) {}

  void fill(int64_t n, const Tile& tile, int64_t at, const FormScratch<scalar_t>& panels) {
    form(n, tile, panels, storage.data + n * stride + at, tile.cols);
  }

  // Columns k ... of all samples.
  Panel<scalar_t> rows(int64_t k) const { return {storage.data + k, stride}; }

  // Columns k ... of samples n0 ... as strips.
  Strips<scalar_t> strips(int64_t n0, int64_t count, int64_t k, int64_t depth, scalar_t* to) const {
    transpose_strips(rows(k).at(n0, 0).data, stride, count, depth, to);
    return {to, depth};
  }

 private:
  const Former<scalar_t> form;
  const int64_t stride;
  const Scratch<scalar_t> storage;
};

template <typename scalar_t>
class MaterializedGram {
 public:
  using Set = Samples<scalar_t, Rows<scalar_t>>;

  static constexpr int64_t kBudget = int64_t{8} << 20;       // bytes of gradients that all threads hold at once ...
  static constexpr int64_t kMostBudget = int64_t{32} << 20;  // ... where that leaves less than kLeastDepth of a sample

  // Of both sets together: the smallest tiles of so many fit what may be held.
  static constexpr int64_t kMostSamples = kMostBudget / (kStepRows * kStepCols * sizeof(scalar_t));

  MaterializedGram(const Set& x, const Set& y, bool symmetric, scalar_t* out, int64_t out_stride)
      : x(x),
        y(y),
        symmetric(symmetric),
        by_blas(is_formed_by_blas(x.shape, x.a, x.b)),
        layout(cheaper_layout(x.shape, by_blas)),
        out(out),
        out_stride(out_stride) {
    for (int64_t n = 0; n < N; n += kEdge)
      for (int64_t m = symmetric ? n : 0; m < M; m += kEdge) corners.push_back({n, m});
  }

  void operator()() const {
    const int64_t each = samples * static_cast<int64_t>(sizeof(scalar_t));  // bytes of one column of G
    const Tiling cached = tiling(kCached);
    if (cached.count() >= kTasks / 2 && cached.edge_rows * cached.edge_cols >= kLeastTile) return by_tiles(cached);
    const int64_t budget = std::min(std::max(kBudget, each * kLeastDepth), kMostBudget);
    const Tiling rounds = tiling(budget);
    const int64_t size = rounds.edge_rows * rounds.edge_cols;
    by_rounds(rounds, std::clamp<int64_t>(budget / (each * size), 1, rounds.count()));
  }

 private:
  static constexpr int64_t kEdge = 256;                 // of a tile of the result
  static constexpr int64_t kFew = 64;                   // samples up to which dot products of rows beat strips
  static constexpr int64_t kSlice = 512;                // columns at once: so many rows stay in a second-level cache
  static constexpr int64_t kLeastTile = 28 * 64;        // below which forming one is slow
  static constexpr int64_t kWorkPerTask = 1 << 17;      // multiply-adds that outweigh waking a thread
  static constexpr int64_t kCached = int64_t{2} << 20;  // bytes of gradients that one thread keeps in its cache
  static constexpr int64_t kLeastDepth = 4096;

  struct Corner {
    int64_t n, m;
  };

  // Tiles of at most `bytes` of all samples' gradients.
  Tiling tiling(int64_t bytes) const {
    const int64_t most = std::max<int64_t>(1, bytes / (samples * static_cast<int64_t>(sizeof(scalar_t))));
    return Former<scalar_t>(x.shape, x.a, x.b, layout, by_blas)
        .tiling(std::min(most, kFormArea), std::min(most, kFormCols), std::min(most, blas_area<scalar_t>(1)));
  }

  // What one thread needs to multiply: strips of both sides, and a tile.
  Scratch<scalar_t> room() const { return Scratch<scalar_t>(edge_n * edge_m + kStripDepth * (edge_n + edge_m)); }

  // tile = the product of columns begin ... end of few samples: dot products of rows where they lie.
  void multiply_rows(const Chunk<scalar_t>& left, const Chunk<scalar_t>& right, int64_t begin, int64_t end,
                     bool triangle, scalar_t* tile) const {
    const int64_t whole = begin + (end - begin) / kPad * kPad;
    for (int64_t k = begin; k < whole; k += kSlice)
      row_products(left.rows(k), N, right.rows(k), M, std::min(kSlice, whole - k), triangle, k > begin, tile, edge_m,
                   Ahead());
    for (int64_t n = 0; n < N && whole < end; ++n)
      for (int64_t m = triangle ? n : 0; m < M; ++m) {
        const double rest = dot(left.rows(whole).at(n, 0).data, right.rows(whole).at(m, 0).data, end - whole);
        tile[n * edge_m + m] = static_cast<scalar_t>(rest) + (whole > begin ? tile[n * edge_m + m] : 0);
      }
    if (begin == end)
      for (int64_t n = 0; n < N; ++n) std::fill_n(tile + n * edge_m, M, scalar_t(0));
  }

  // The same of one tile of the result of many, `strips` having room for those of both sides.
  void multiply_strips(const Chunk<scalar_t>& left, const Chunk<scalar_t>& right, const Corner& at, int64_t begin,
                       int64_t end, bool triangle, scalar_t* tile) const {
    const int64_t rows = std::min(kEdge, N - at.n), cols = std::min(kEdge, M - at.m);
    scalar_t* const strips = tile + edge_n * edge_m;
    int64_t k = begin;
    do {  // once even if there are no columns
      const int64_t depth = std::clamp<int64_t>(end - k, 0, kStripDepth);
      const Strips<scalar_t> y_strips = left.strips(at.n, rows, k, depth, strips);
      const Strips<scalar_t> x_strips =
          triangle ? y_strips : right.strips(at.m, cols, k, depth, strips + kStripDepth * edge_n);
      product(x_strips, cols, y_strips, rows, triangle, k > begin, tile, edge_m);
      k += kStripDepth;
    } while (k < end);
  }

  // to [tile of the result] = or += the product of columns begin ... end of both chunks.
  void multiply(const Chunk<scalar_t>& left, const Chunk<scalar_t>& right, const Corner& at, int64_t begin, int64_t end,
                bool add, scalar_t* to, int64_t to_stride, const Scratch<scalar_t>& room) const {
    const int64_t rows = std::min(kEdge, N - at.n), cols = std::min(kEdge, M - at.m);
    const bool triangle = symmetric && at.n == at.m;
    scalar_t* const tile = room.data;
    if (std::max(N, M) <= kFew)
      multiply_rows(left, right, begin, end, triangle, tile);
    else
      multiply_strips(left, right, at, begin, end, triangle, tile);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t c = triangle ? r : 0;
      const scalar_t* from = tile + r * edge_m;
      if (add)
        add_scaled(from + c, 1, cols - c, to + r * to_stride + c);
      else
        std::copy(from + c, from + cols, to + r * to_stride + c);
    }
  }

  // For wide layers: a thread forms one tile of all samples and multiplies it while it is in cache, then the next one.
  void by_tiles(const Tiling& tiling) const {
    struct Worker {
      FormScratch<scalar_t> panels;
      Scratch<scalar_t> room;
      Chunk<scalar_t> left, right;
    };
    const int64_t tiles = tiling.count(), splits = std::min(tiles, kTasks);
    const int64_t size = tiling.edge_rows * tiling.edge_cols;
    const Scratch<scalar_t> partial(splits * N * M);
    parallel_tasks(
        splits, 1,
        [&] {
          return Worker{FormScratch<scalar_t>(tiling), room(), {x, layout, size}, {y, layout, symmetric ? 0 : size}};
        },
        [&](int64_t split, Worker& worker) {
          for (int64_t first = split * tiles / splits, p = first; p < (split + 1) * tiles / splits; ++p) {
            const Tile tile = tiling[p];
            for (int64_t n = 0; n < N; ++n) worker.left.fill(n, tile, 0, worker.panels);
            for (int64_t m = 0; m < M && !symmetric; ++m) worker.right.fill(m, tile, 0, worker.panels);
            for (const Corner& at : corners)
              multiply(worker.left, symmetric ? worker.left : worker.right, at, 0, tile.size(), p > first,
                       partial.data + (split * N + at.n) * M + at.m, M, worker.room);
          }
        });
    sum_splits(partial.data, splits);
  }

  // For narrow layers, and for many samples: rounds of two steps, each shared by all threads. The long sum of the
  // product is split where the result alone has too few tiles.
  void by_rounds(const Tiling& tiling, int64_t round) const {
    const int64_t count = corners.size(), size = tiling.edge_rows * tiling.edge_cols;
    Chunk<scalar_t> left(x, layout, round * size), other(y, layout, symmetric ? 0 : round * size);
    Chunk<scalar_t>& right = symmetric ? left : other;
    const int64_t slices = ceil_div(round * size, kStripDepth), worth = N * M * round * size / kWorkPerTask;
    const int64_t most = std::clamp<int64_t>(std::min(slices, worth), 1, ceil_div(kTasks, count));
    const int64_t share = ceil_div(slices, most) * kStripDepth, splits = ceil_div(round * size, share);
    const Scratch<scalar_t> partial(splits > 1 ? splits * N * M : 0);
    scalar_t* const to = splits > 1 ? partial.data : out;
    const int64_t to_stride = splits > 1 ? M : out_stride;
    for (int64_t first = 0; first < tiling.count(); first += round) {
      const int64_t tiles = std::min(round, tiling.count() - first);
      std::vector<int64_t> start = {0};
      for (int64_t p = 0; p < tiles; ++p) start.push_back(start.back() + tiling[first + p].size());
      parallel_tasks(
          samples * tiles, 1, [&] { return FormScratch<scalar_t>(tiling); },
          [&](int64_t task, const FormScratch<scalar_t>& panels) {
            const int64_t n = task / tiles, p = task % tiles;
            (n < N ? left : right).fill(n < N ? n : n - N, tiling[first + p], start[p], panels);
          });
      const int64_t depth = start.back();
      parallel_tasks(
          count * splits, 1, [&] { return room(); },
          [&](int64_t task, const Scratch<scalar_t>& room) {
            const Corner at = corners[task % count];
            const int64_t split = task / count, k = split * share;
            if (k < depth || first == 0)  // there may be less than a whole round
              multiply(left, right, at, std::min(k, depth), std::min(k + share, depth), first > 0,
                       to + (split * N + at.n) * to_stride + at.m, to_stride, room);
          });
    }
    sum_splits(partial.data, splits);
  }

  // out = sum over splits of partial [splits, N, M], from left to right, if there are several.
  void sum_splits(const scalar_t* partial, int64_t splits) const {
    if (splits > 1)
      parallel_for(N, ceil_div(kWorkPerTask, M * splits), [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
          const int64_t m = symmetric ? n : 0;
          scalar_t* const to = out + n * out_stride + m;
          std::copy(partial + n * M + m, partial + (n + 1) * M, to);
          for (int64_t k = 1; k < splits; ++k) add_scaled(partial + (k * N + n) * M + m, 1, M - m, to);
        }
      });
  }

  const Set &x, &y;
  const bool symmetric;
  const int64_t N = x.shape.N, M = y.shape.N, samples = N + (symmetric ? 0 : M);
  const int64_t edge_n = whole(N), edge_m = whole(M);
  const bool by_blas;
  const Layout layout;
  scalar_t* const out;
  const int64_t out_stride;
  std::vector<Corner> corners;

  static int64_t whole(int64_t edge) { return std::min(kEdge, strips<scalar_t>(edge) * kStrip<scalar_t>); }
};

}  // namespace infotorch::cpu
