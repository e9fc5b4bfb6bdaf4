#include "../gram.h"

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kEdgeRows = 56, kEdgeCols = 64;    // edges of a tile of positions by positions
constexpr int64_t kFormArea = 112 * 256;             // of a tile of G
constexpr int64_t kFormCols = 256;                   // of it
constexpr int64_t kTileRows = 256, kTileCols = 256;  // edges of a tile of the result
constexpr int64_t kTasks = 16;                       // that keep all threads busy
constexpr int64_t kWorkPerTask = 1 << 17;            // multiply-adds that outweigh waking a thread
constexpr int64_t kBudget = int64_t{8} << 20;        // bytes of panels or gradients held at once ...
constexpr int64_t kMostBudget = int64_t{32} << 20;   // ... where that leaves less than kLeastDepth of each sample
constexpr int64_t kLeastDepth = 4096;
constexpr int64_t kCached = int64_t{2} << 20;  // bytes that one thread keeps in its cache
constexpr int64_t kLeastTile = 28 * 64;        // of a tile of G, below which forming it is slow

template <typename scalar_t>
using Set = Samples<scalar_t, Rows<scalar_t>>;

// out [N, M] below its diagonal becomes what is above.
template <typename scalar_t>
void mirror(int64_t N, scalar_t* out) {
  constexpr int64_t edge = 64;
  parallel_for(ceil_div(N, edge), 4, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = begin * edge; n0 < std::min(N, end * edge); n0 += edge) {
      const int64_t rows = std::min(edge, N - n0);
      for (int64_t m0 = 0; m0 < n0; m0 += edge) copy_block(out + m0 * N + n0, 1, N, rows, edge, out + n0 * N + m0, N);
      for (int64_t n = n0; n < n0 + rows; ++n)
        for (int64_t m = n0; m < n; ++m) out[n * N + m] = out[m * N + n];
    }
  });
}

// Runs body(n0, count, m0, count) over blocks of the result, in the upper triangle if symmetric.
template <typename Body>
void for_blocks(int64_t N, int64_t edge_n, int64_t M, int64_t edge_m, bool symmetric, const Body& body) {
  for (int64_t n0 = 0; n0 < N; n0 += edge_n)
    for (int64_t m0 = symmetric ? n0 : 0; m0 < M; m0 += edge_m)
      body(n0, std::min(edge_n, N - n0), m0, std::min(edge_m, M - m0));
}

// Where the tiles of a block of the result begin; those wholly below the diagonal are left out. They come from both
// ends in turn: the last rows of a triangle have the most tiles that the diagonal cuts, and threads get equal shares of
// them.
struct Corner {
  int64_t n, m;
};
std::vector<Corner> corners(int64_t N, int64_t n_edge, int64_t M, int64_t m_edge, bool diagonal) {
  std::vector<Corner> all;
  for (int64_t n = 0; n < N; n += n_edge)
    for (int64_t m = 0; m < M; m += m_edge)
      if (!diagonal || m + m_edge > n) all.push_back({n, m});
  std::vector<Corner> turned;
  for (size_t p = 0; p < all.size(); ++p) turned.push_back(p % 2 ? all[all.size() - 1 - p / 2] : all[p / 2]);
  return turned;
}

// --- The gram form: positions by positions. ---

// All positions of some samples, turned round: a [I, positions] and b [O, positions].
template <typename scalar_t>
struct Positions {
  Positions(const Set<scalar_t>& set, int64_t n0, int64_t count)
      : T(set.shape.T),
        stride(panel_stride(count * T + kPad)),  // kernels may read on by a vector
        storage((set.shape.I + set.shape.O) * stride),
        a{storage.data, stride},
        b{storage.data + set.shape.I * stride, stride} {
    const Rows<scalar_t> a_rows = stacked(set.a, n0, count), b_rows = stacked(set.b, n0, count);
    const int64_t I = set.shape.I, O = set.shape.O;
    constexpr int64_t edge = 64;
    parallel_for(ceil_div(count * T, edge), ceil_div(1 << 9, I + O), [&](int64_t begin, int64_t end) {
      const int64_t c0 = begin * edge, cols = std::min(end * edge, count * T) - c0;
      pack_positions(a_rows, 0, c0, cols, 0, I, storage.data + c0, stride);
      pack_positions(b_rows, 0, c0, cols, 0, O, storage.data + I * stride + c0, stride);
    });
  }
  const int64_t T, stride;
  const Scratch<scalar_t> storage;
  const Panel<scalar_t> a, b;
};

template <typename scalar_t>
void deep_product(const Panel<scalar_t>& x, int64_t cols, const Panel<scalar_t>& y, int64_t rows, int64_t depth,
                  int64_t diagonal, scalar_t* out, int64_t out_stride) {
  int64_t k = 0;
  do {
    product(x.at(k, 0), cols, y.at(k, 0), rows, std::min(kDepth, depth - k), k > 0, out, out_stride, diagonal);
    k += kDepth;
  } while (k < depth);
}

template <typename scalar_t>
void gram_positions_block(const PairShape& s, const Positions<scalar_t>& x, int64_t N, const Positions<scalar_t>& y,
                          int64_t M, bool diagonal, scalar_t* out, int64_t out_stride) {
  const int64_t T = x.T, S = y.T;
  const int64_t n_edge = std::max<int64_t>(1, kEdgeRows / T), m_edge = std::max<int64_t>(1, kEdgeCols / S);
  const std::vector<Corner> tasks = corners(N, n_edge, M, m_edge, diagonal);
  parallel_for(tasks.size(), 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> tiles(2 * kEdgeRows * kEdgeCols + kEdgeCols);
    scalar_t *aa = tiles.data, *bb = aa + kEdgeRows * kEdgeCols, *sums = bb + kEdgeRows * kEdgeCols;
    for (int64_t p = begin; p < end; ++p) {
      const auto [n0, m0] = tasks[p];
      const int64_t N_here = std::min(n_edge, N - n0), M_here = std::min(m_edge, M - m0);
      if (T == 1 && S == 1) {
        const int64_t upper = diagonal ? n0 - m0 : kEverything;
        deep_product(y.a.at(0, m0), M_here, x.a.at(0, n0), N_here, s.I, upper, aa, kEdgeCols);
        deep_product(y.b.at(0, m0), M_here, x.b.at(0, n0), N_here, s.O, upper, bb, kEdgeCols);
        for (int64_t n = 0; n < N_here; ++n)
          multiply(aa + n * kEdgeCols, bb + n * kEdgeCols, M_here, out + (n0 + n) * out_stride + m0);
        continue;
      }
      std::vector<double> total(N_here * M_here);
      for (int64_t r0 = n0 * T; r0 < (n0 + N_here) * T; r0 += kEdgeRows)
        for (int64_t c0 = m0 * S; c0 < (m0 + M_here) * S; c0 += kEdgeCols) {
          const int64_t rows = std::min(kEdgeRows, (n0 + N_here) * T - r0);
          const int64_t cols = std::min(kEdgeCols, (m0 + M_here) * S - c0);
          deep_product(y.a.at(0, c0), cols, x.a.at(0, r0), rows, s.I, kEverything, aa, kEdgeCols);
          deep_product(y.b.at(0, c0), cols, x.b.at(0, r0), rows, s.O, kEverything, bb, kEdgeCols);
          for (int64_t n = 0, r = 0; n < N_here && r < rows; ++n) {
            const int64_t positions = std::min(T, rows - r);
            std::fill(sums, sums + kEdgeCols, scalar_t(0));
            add_column_dots(aa + r * kEdgeCols, bb + r * kEdgeCols, kEdgeCols, positions, cols, sums);
            for (int64_t c = 0; c < cols; ++c) total[n * M_here + c / S] += sums[c];
            r += positions;
          }
        }
      for (int64_t n = 0; n < N_here; ++n)
        for (int64_t m = 0; m < M_here; ++m)
          out[(n0 + n) * out_stride + m0 + m] = static_cast<scalar_t>(total[n * M_here + m]);
    }
  });
}

template <typename scalar_t>
void gram_positions(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const auto edge = [](const PairShape& s) {
    return std::max<int64_t>(1, kBudget / static_cast<int64_t>(sizeof(scalar_t) * s.T * (s.I + s.O)));
  };
  const int64_t M = y.shape.N;
  for_blocks(x.shape.N, edge(x.shape), M, edge(y.shape), symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               const bool diagonal = symmetric && n0 == m0;
               const Positions<scalar_t> left(x, n0, N_here);
               if (diagonal)
                 return gram_positions_block(x.shape, left, N_here, left, M_here, true, out + n0 * M + m0, M);
               const Positions<scalar_t> right(y, m0, M_here);
               gram_positions_block(x.shape, left, N_here, right, M_here, false, out + n0 * M + m0, M);
             });
}

// --- The materializing form: some tiles of G of all samples, and their product. ---

// Some tiles of the gradients of a set of samples, one behind the other: [N, depth].
template <typename scalar_t>
class Chunk {
 public:
  Chunk(const Set<scalar_t>& set, Layout layout, int64_t depth)
      : N(set.shape.N), form(set.shape, set.a, set.b, layout), stride(panel_stride(depth)), storage(N * stride) {}

  void fill(int64_t n, const Tile& tile, int64_t at, const FormScratch<scalar_t>& panels) {
    form(n, tile, panels, storage.data + n * stride + at, tile.cols);
  }

  // Columns k ... of samples n0 ..., turned round.
  Panel<scalar_t> panel(int64_t n0, int64_t count, int64_t k, int64_t depth, scalar_t* to) const {
    copy_block(storage.data + n0 * stride + k, 1, stride, depth, count, to, panel_stride(count));
    return {to, panel_stride(count)};
  }

  const int64_t N;
  const Former<scalar_t> form;

 private:
  const int64_t stride;
  const Scratch<scalar_t> storage;
};

// out = sum over splits of partial [splits, N, M], from left to right; what the mirror will write is left out.
template <typename scalar_t>
void sum_splits(const scalar_t* partial, int64_t splits, int64_t N, int64_t M, bool symmetric, scalar_t* out) {
  parallel_for(N, ceil_div(kWorkPerTask, M * splits), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t m = symmetric ? n : 0;
      std::copy(partial + n * M + m, partial + (n + 1) * M, out + n * M + m);
      for (int64_t k = 1; k < splits; ++k) add_scaled(partial + (k * N + n) * M + m, 1, M - m, out + n * M + m);
    }
  });
}

// What both schedules below share: sizes, the way a round is cut, and its two steps.
template <typename scalar_t>
struct Materializer {
  Materializer(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric)
      : x(x),
        y(y),
        symmetric(symmetric),
        layout(cheaper_layout(x.shape)),
        corner(corners(N, kTileRows, M, kTileCols, symmetric)) {}

  // Tiles of at most `bytes` of all samples' gradients.
  Tiling tiling(int64_t bytes) const {
    const bool by_out = layout == Layout::out_by_in;
    const int64_t most = std::max<int64_t>(1, bytes / (samples * static_cast<int64_t>(sizeof(scalar_t))));
    return tiles_of(by_out ? x.shape.O : x.shape.I, by_out ? x.shape.I : x.shape.O, std::min(most, kFormArea),
                    std::min(most, kFormCols));
  }

  // to [N, M] = or += the product of columns begin ... end of both chunks, in one tile of the result.
  void multiply(const Chunk<scalar_t>& left, const Chunk<scalar_t>& right, const Corner& at, int64_t begin, int64_t end,
                bool add, scalar_t* to) const {
    const Scratch<scalar_t> panels(kDepth * (panel_stride(kTileRows) + panel_stride(kTileCols)));
    const auto [n, m] = at;
    const int64_t rows = std::min(kTileRows, N - n), cols = std::min(kTileCols, M - m);
    int64_t k = begin;
    do {  // once even if there are no columns
      const int64_t depth = std::clamp<int64_t>(end - k, 0, kDepth);
      const Panel<scalar_t> y_panel = left.panel(n, rows, k, depth, panels.data);
      const Panel<scalar_t> x_panel =
          symmetric && n == m ? y_panel
                              : right.panel(m, cols, k, depth, panels.data + kDepth * panel_stride(kTileRows));
      product(x_panel, cols, y_panel, rows, depth, add || k > begin, to + n * M + m, M,
              symmetric ? n - m : kEverything);
      k += kDepth;
    } while (k < end);
  }

  const Set<scalar_t>&x, &y;
  const bool symmetric;
  const int64_t N = x.shape.N, M = y.shape.N, samples = N + (symmetric ? 0 : M);
  const Layout layout;
  const std::vector<Corner> corner;
};

// For wide layers: a thread forms one tile of all samples and multiplies it while it is in cache, then the next one.
template <typename scalar_t>
void by_tiles(const Materializer<scalar_t>& run, const Tiling& tiling, scalar_t* out) {
  const int64_t N = run.N, M = run.M, tiles = tiling.count(), splits = std::min(tiles, kTasks);
  const Scratch<scalar_t> partial(splits * N * M);
  parallel_for(splits, 1, [&](int64_t begin, int64_t end) {
    const int64_t size = tiling.edge_rows * tiling.edge_cols;
    const FormScratch<scalar_t> panels(tiling);
    Chunk<scalar_t> left(run.x, run.layout, size), other(run.y, run.layout, run.symmetric ? 0 : size);
    Chunk<scalar_t>& right = run.symmetric ? left : other;
    for (int64_t split = begin; split < end; ++split)
      for (int64_t p = split * tiles / splits; p < (split + 1) * tiles / splits; ++p) {
        const Tile tile = tiling[p];
        for (int64_t n = 0; n < N; ++n) left.fill(n, tile, 0, panels);
        for (int64_t m = 0; m < M && !run.symmetric; ++m) right.fill(m, tile, 0, panels);
        for (const Corner& at : run.corner)
          run.multiply(left, right, at, 0, tile.size(), p > split * tiles / splits, partial.data + split * N * M);
      }
  });
  sum_splits(partial.data, splits, N, M, run.symmetric, out);
}

// For narrow layers, and for many samples: rounds of two steps, each shared by all threads. The long sum of the product
// is split where the result alone has too few tiles; the parts are added from left to right.
template <typename scalar_t>
void by_rounds(const Materializer<scalar_t>& run, const Tiling& tiling, int64_t round, scalar_t* out) {
  const int64_t N = run.N, M = run.M, corners = run.corner.size(), size = tiling.edge_rows * tiling.edge_cols;
  Chunk<scalar_t> left(run.x, run.layout, round * size), other(run.y, run.layout, run.symmetric ? 0 : round * size);
  Chunk<scalar_t>& right = run.symmetric ? left : other;
  const int64_t slices = ceil_div(round * size, kDepth), worth = N * M * round * size / kWorkPerTask;
  const int64_t splits = std::clamp<int64_t>(std::min(slices, worth), 1, ceil_div(kTasks, corners));
  const Scratch<scalar_t> partial(splits > 1 ? splits * N * M : 0);
  scalar_t* const to = splits > 1 ? partial.data : out;
  for (int64_t first = 0; first < tiling.count(); first += round) {
    const int64_t tiles = std::min(round, tiling.count() - first);
    std::vector<int64_t> start = {0};
    for (int64_t p = 0; p < tiles; ++p) start.push_back(start.back() + tiling[first + p].size());
    parallel_for(run.samples * tiles, 1, [&](int64_t begin, int64_t end) {
      const FormScratch<scalar_t> panels(tiling);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t n = task / tiles, p = task % tiles;
        Chunk<scalar_t>& chunk = n < N ? left : right;
        chunk.fill(n < N ? n : n - N, tiling[first + p], start[p], panels);
      }
    });
    const int64_t depth = start.back(), share = ceil_div(ceil_div(depth, kDepth), splits) * kDepth;
    parallel_for(corners * splits, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t split = task / corners, k = std::min(depth, split * share);
        if (k < depth || first == 0)
          run.multiply(left, right, run.corner[task % corners], k, std::min(depth, k + share), first > 0,
                       to + split * N * M);
      }
    });
  }
  if (splits > 1) sum_splits(partial.data, splits, N, M, run.symmetric, out);
}

template <typename scalar_t>
void gram_materialize(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const Materializer<scalar_t> run(x, y, symmetric);
  const int64_t each = run.samples * static_cast<int64_t>(sizeof(scalar_t));  // bytes of one column of G
  const Tiling cached = run.tiling(kCached);
  if (cached.count() >= kTasks / 2 && cached.edge_rows * cached.edge_cols >= kLeastTile)
    return by_tiles(run, cached, out);
  const int64_t budget = std::clamp<int64_t>(kBudget, each * kLeastDepth, kMostBudget);
  const Tiling tiling = run.tiling(budget);
  const int64_t size = tiling.edge_rows * tiling.edge_cols;
  by_rounds(run, tiling, std::clamp<int64_t>(budget / (each * size), 1, tiling.count()), out);
}

}  // namespace

template <typename scalar_t>
void gram(GramMethod method, const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const PairShape &s = x.shape, &s2 = y.shape;
  if (s.N == 0 || s2.N == 0) return;
  if (s.T == 0 || s2.T == 0 || s.I == 0 || s.O == 0)
    std::fill(out, out + s.N * s2.N, scalar_t(0));
  else if (method == GramMethod::gram)
    gram_positions(x, y, symmetric, out);
  else
    gram_materialize(x, y, symmetric, out);
  if (symmetric) mirror(s.N, out);
}

template <typename scalar_t>
void gram(GramMethod, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric, scalar_t* out) {
  const auto edge = [](const PairShape& s) {
    return std::max<int64_t>(1, kBudget / static_cast<int64_t>(sizeof(scalar_t) * (s.T + 1) * (s.O + 2) + 1));
  };
  const auto columns = [](const Samples<scalar_t, Ids>& set, int64_t n0, int64_t count) {
    std::vector<Columns<scalar_t>> all(count);
    parallel_for(count, ceil_div(1 << 12, set.shape.T * set.shape.O + 1), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) all[n] = columns_of(set.shape, set.a, set.b, n0 + n);
    });
    return all;
  };
  const int64_t M = y.shape.N;
  for_blocks(x.shape.N, edge(x.shape), M, edge(y.shape), symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               const bool diagonal = symmetric && n0 == m0;
               const auto left = columns(x, n0, N_here), right = columns(y, m0, M_here);
               parallel_for(N_here, 1, [&](int64_t begin, int64_t end) {
                 for (int64_t n = begin; n < end; ++n)
                   for (int64_t m = diagonal ? n : 0; m < M_here; ++m)
                     out[(n0 + n) * M + m0 + m] = static_cast<scalar_t>(inner_product(left[n], right[m], x.shape.O));
               });
             });
  if (symmetric) mirror(x.shape.N, out);
}

template void gram(GramMethod, const Set<float>&, const Set<float>&, bool, float*);
template void gram(GramMethod, const Set<double>&, const Set<double>&, bool, double*);
template void gram(GramMethod, const Samples<float, Ids>&, const Samples<float, Ids>&, bool, float*);
template void gram(GramMethod, const Samples<double, Ids>&, const Samples<double, Ids>&, bool, double*);

}  // namespace infotorch::cpu
