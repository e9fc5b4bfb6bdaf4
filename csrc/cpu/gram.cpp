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
constexpr int64_t kBudget = int64_t{8} << 20;        // bytes of panels or gradients held at once ...
constexpr int64_t kMostBudget = int64_t{32} << 20;   // ... where that leaves less than kLeastDepth of each sample
constexpr int64_t kLeastDepth = 4096;

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

// Where the tiles of a block of the result begin; those wholly below the diagonal are left out.
struct Corner {
  int64_t n, m;
};
std::vector<Corner> corners(int64_t N, int64_t n_edge, int64_t M, int64_t m_edge, bool diagonal) {
  std::vector<Corner> all;
  for (int64_t n = 0; n < N; n += n_edge)
    for (int64_t m = 0; m < M; m += m_edge)
      if (!diagonal || m + m_edge > n) all.push_back({n, m});
  return all;
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
    const auto pack = [&](const Rows<scalar_t>& x, int64_t width, scalar_t* to) {
      const Rows<scalar_t> rows = stacked(x, n0, count);
      constexpr int64_t edge = 64;
      parallel_for(ceil_div(count * T, edge), ceil_div(1 << 9, width), [&](int64_t begin, int64_t end) {
        const int64_t c0 = begin * edge, cols = std::min(end * edge, count * T) - c0;
        pack_positions(rows, 0, c0, cols, 0, width, to + c0, stride);
      });
    };
    pack(set.a, set.shape.I, storage.data);
    pack(set.b, set.shape.O, storage.data + set.shape.I * stride);
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

  void fill(int64_t n, const Tile& tile, int64_t at, FormWorker<scalar_t>& worker) {
    form(n, tile, worker, storage.data + n * stride + at, tile.cols);
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
  parallel_for(N, ceil_div(1 << 14, M * splits), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t m = symmetric ? n : 0;
      std::copy(partial + n * M + m, partial + (n + 1) * M, out + n * M + m);
      for (int64_t k = 1; k < splits; ++k) add_scaled(partial + (k * N + n) * M + m, 1, M - m, out + n * M + m);
    }
  });
}

// Rounds of two steps: form some tiles of G of all samples; add their product to the result. The long sum of the
// product is split where the result alone has too few tiles; the parts are added from left to right.
template <typename scalar_t>
void gram_materialize(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const int64_t N = x.shape.N, M = y.shape.N, samples = N + (symmetric ? 0 : M);
  const Layout layout = cheaper_layout(x.shape);
  const bool by_out = layout == Layout::out_by_in;
  const int64_t budget = std::clamp<int64_t>(kBudget, samples * kLeastDepth * sizeof(scalar_t), kMostBudget);
  const int64_t most = std::max<int64_t>(1, budget / (samples * sizeof(scalar_t)));  // depth of a round
  const Tiling tiling = tiles_of(by_out ? x.shape.O : x.shape.I, by_out ? x.shape.I : x.shape.O,
                                 std::min(most, kFormArea), std::min(most, kFormCols));
  const int64_t size = tiling.edge_rows * tiling.edge_cols, round = std::clamp(most / size, int64_t{1}, tiling.count());
  Chunk<scalar_t> left(x, layout, round * size), other(y, layout, symmetric ? 0 : round * size);
  Chunk<scalar_t>& right = symmetric ? left : other;

  const std::vector<Corner> corner = corners(N, kTileRows, M, kTileCols, symmetric);
  const int64_t corners = corner.size(), slices = ceil_div(round * size, kDepth);
  const int64_t splits = std::min(slices, ceil_div(kTasks, corners));
  const Scratch<scalar_t> partial(splits > 1 ? splits * N * M : 0);
  scalar_t* const to = splits > 1 ? partial.data : out;

  for (int64_t first = 0; first < tiling.count(); first += round) {
    const int64_t tiles = std::min(round, tiling.count() - first);
    std::vector<int64_t> start = {0};
    for (int64_t p = 0; p < tiles; ++p) start.push_back(start.back() + tiling[first + p].size());

    parallel_for(samples * tiles, 1, [&](int64_t begin, int64_t end) {
      FormWorker<scalar_t> worker(tiling.edge_rows, tiling.edge_cols);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t n = task / tiles, p = task % tiles;
        Chunk<scalar_t>& chunk = n < N ? left : right;
        chunk.fill(n < N ? n : n - N, tiling[first + p], start[p], worker);
      }
    });

    const int64_t depth = start.back(), share = ceil_div(ceil_div(depth, kDepth), splits) * kDepth;
    parallel_for(corners * splits, 1, [&](int64_t begin, int64_t end) {
      const Scratch<scalar_t> panels(kDepth * (panel_stride(kTileRows) + panel_stride(kTileCols)));
      for (int64_t task = begin; task < end; ++task) {
        const auto [n, m] = corner[task % corners];
        const int64_t split = task / corners, rows = std::min(kTileRows, N - n), cols = std::min(kTileCols, M - m);
        const bool shared = symmetric && n == m;
        scalar_t* tile = to + (split * N + n) * M + m;
        bool add = first > 0;
        for (int64_t k = split * share, here; k < std::min(depth, (split + 1) * share) || !add; k += here, add = true) {
          here = std::clamp<int64_t>(depth - k, 0, kDepth);
          const Panel<scalar_t> y_panel = left.panel(n, rows, k, here, panels.data);
          const Panel<scalar_t> x_panel =
              shared ? y_panel : right.panel(m, cols, k, here, panels.data + kDepth * panel_stride(kTileRows));
          product(x_panel, cols, y_panel, rows, here, add, tile, M, symmetric ? n - m : kEverything);
        }
      }
    });
  }
  if (splits > 1) sum_splits(partial.data, splits, N, M, symmetric, out);
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
