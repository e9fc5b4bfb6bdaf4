#include "../gram.h"

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBudget = int64_t{12} << 20;       // bytes of panels that one set of samples may take
constexpr int64_t kEdgeRows = 56, kEdgeCols = 64;    // edges of a tile of positions by positions
constexpr int64_t kChunkRows = 28, kChunkCols = 32;  // edges of a piece of G, a chunk of the long sum
constexpr int64_t kGroup = 16;                       // samples whose chunk is formed before it is turned round
constexpr int64_t kManyChunks = 16;                  // from so many on, threads share the chunks
constexpr int64_t kMostSamples = 384;                // in one block of the result when forming gradients

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
    const PairShape& s = set.shape;
    parallel_for(count, ceil_div(1 << 14, T * (s.I + s.O) + 1), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        pack_positions(set.a, n0 + n, 0, T, 0, s.I, storage.data + n * T, stride);
        pack_positions(set.b, n0 + n, 0, T, 0, s.O, storage.data + s.I * stride + n * T, stride);
      }
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
  const int64_t across = ceil_div(M, m_edge), tasks = ceil_div(N, n_edge) * across;
  parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> tiles(2 * kEdgeRows * kEdgeCols + kEdgeCols);
    scalar_t *aa = tiles.data, *bb = aa + kEdgeRows * kEdgeCols, *sums = bb + kEdgeRows * kEdgeCols;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t n0 = p / across * n_edge, m0 = p % across * m_edge;
      const int64_t N_here = std::min(n_edge, N - n0), M_here = std::min(m_edge, M - m0);
      if (diagonal && m0 + M_here <= n0) continue;
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

// --- The materializing form: chunks of G of all samples, turned round, and their product. ---

// Chunk `tile` of the gradients of samples n0 ... as a panel [rows * cols, count].
template <typename scalar_t>
void form_chunk(const Former<scalar_t>& form, const Tiling::Tile& tile, int64_t n0, int64_t count, scalar_t* scratch,
                scalar_t* panel, int64_t stride) {
  const auto [r0, rows, c0, cols] = tile;
  const int64_t size = rows * cols;
  scalar_t* formed = scratch + form.scratch_size(kChunkRows, kChunkCols);
  for (int64_t g = 0; g < count; g += kGroup) {
    const int64_t here = std::min(kGroup, count - g);
    for (int64_t n = 0; n < here; ++n) form(n0 + g + n, r0, rows, c0, cols, scratch, formed + n * size, cols);
    copy_block(formed, 1, size, size, here, panel + g, stride);
  }
}

template <typename scalar_t>
int64_t chunk_scratch(const Former<scalar_t>& form) {
  return form.scratch_size(kChunkRows, kChunkCols) + kGroup * kChunkRows * kChunkCols;
}

// out += sum over splits of partial, from left to right.
template <typename scalar_t>
void sum_splits(const scalar_t* partial, int64_t splits, int64_t N, int64_t M, scalar_t* out, int64_t out_stride) {
  parallel_for(N, ceil_div(1 << 14, M * splits), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      std::fill(out + n * out_stride, out + n * out_stride + M, scalar_t(0));
      for (int64_t k = 0; k < splits; ++k) add_scaled(partial + (k * N + n) * M, 1, M, out + n * out_stride);
    }
  });
}

template <typename scalar_t>
void gram_materialize_block(const Set<scalar_t>& x, int64_t n0, int64_t N, const Set<scalar_t>& y, int64_t m0,
                            int64_t M, bool diagonal, scalar_t* out, int64_t out_stride) {
  const Layout layout = cheaper_layout(x.shape);
  const Former<scalar_t> form_x(x.shape, x.a, x.b, layout), form_y(y.shape, y.a, y.b, layout);
  const Tiling tiling = {form_x.rows, form_x.cols, kChunkRows, kChunkCols};
  const int64_t chunks = tiling.count(), splits = std::min(chunks, kManyChunks);
  const int64_t x_stride = panel_stride(N + kPad), y_stride = panel_stride(M + kPad);
  constexpr int64_t size = kChunkRows * kChunkCols;
  const Scratch<scalar_t> partial(splits * N * M);
  parallel_for(splits, 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> scratch(chunk_scratch(form_x)), x_panel(size * x_stride),
        y_panel(diagonal ? 0 : size * y_stride);
    for (int64_t split = begin; split < end; ++split)
      for (int64_t p = split; p < chunks; p += splits) {
        const Tiling::Tile tile = tiling.tile(p);
        form_chunk(form_x, tile, n0, N, scratch.data, x_panel.data, x_stride);
        if (!diagonal) form_chunk(form_y, tile, m0, M, scratch.data, y_panel.data, y_stride);
        const Panel<scalar_t> left = {x_panel.data, x_stride},
                              right = diagonal ? left : Panel<scalar_t>{y_panel.data, y_stride};
        for (int64_t k = 0; k < tile.rows * tile.cols; k += kDepth)
          product(right.at(k, 0), M, left.at(k, 0), N, std::min(kDepth, tile.rows * tile.cols - k), p > split || k > 0,
                  partial.data + split * N * M, M, diagonal ? 0 : kEverything);
      }
  });
  sum_splits(partial.data, splits, N, M, out, out_stride);
}

template <typename scalar_t>
void gram_materialize(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const int64_t M = y.shape.N;
  for_blocks(x.shape.N, kMostSamples, M, kMostSamples, symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               gram_materialize_block(x, n0, N_here, y, m0, M_here, symmetric && n0 == m0, out + n0 * M + m0, M);
             });
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
