#include "../norms.h"

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

// Sizes of the pieces. They follow from the shape alone, and every result is a sum of pieces from left to
// right, so its bits don't depend on the number of threads. A piece's panels and product stay in a 1 MiB cache.
constexpr int64_t kFew = 12;                       // up to so many positions, dot products beat packing
constexpr int64_t kArea = 112 * 256, kCols = 256;  // of a tile of G: narrow layers have one tile
constexpr int64_t kEdge = 128;                     // edge of a tile of a a^T
constexpr int64_t kWorkPerTask = 1 << 16;          // multiply-adds that outweigh waking a thread

// out[n] = sum of piece(n, p, worker) over p < pieces; every thread makes a worker of its own.
template <typename scalar_t, typename MakeWorker, typename Piece>
void sum_pieces(int64_t N, int64_t pieces, int64_t cost, const MakeWorker& make_worker, const Piece& piece,
                scalar_t* out) {
  std::vector<double> partial(N * pieces);
  parallel_for(N * pieces, kWorkPerTask / (cost / std::max<int64_t>(1, pieces) + 1) + 1,
               [&](int64_t begin, int64_t end) {
                 auto worker = make_worker();
                 for (int64_t p = begin; p < end; ++p) partial[p] = piece(p / pieces, p % pieces, worker);
               });
  for (int64_t n = 0; n < N; ++n) {
    double total = 0;
    for (int64_t p = 0; p < pieces; ++p) total += partial[n * pieces + p];
    out[n] = static_cast<scalar_t>(total < 0 ? 0 : total);  // rounding may dip below zero; NaN stays NaN
  }
}

// All terms of a sample with few positions.
template <typename scalar_t>
double few_positions(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, int64_t n,
                     scalar_t* scratch) {
  const Panel<scalar_t> a_n = features(a, n, 0, s.T, 0, s.I, 1, scratch);
  const Panel<scalar_t> b_n = features(b, n, 0, s.T, 0, s.O, 1, scratch + s.T * panel_stride(s.I));
  double total = 0;
  for (int64_t t = 0; t < s.T; ++t)
    for (int64_t u = 0; u <= t; ++u)
      total += (u == t ? 1 : 2) * dot(a_n.at(t, 0).data, a_n.at(u, 0).data, s.I) *
               dot(b_n.at(t, 0).data, b_n.at(u, 0).data, s.O);
  return total;
}

// out = rows t0 ... of x times rows u0 ... of x, summed over all features; only what is above its diagonal if t0 = u0.
template <typename scalar_t>
void gram_tile(const Rows<scalar_t>& x, int64_t N, int64_t n, int64_t width, int64_t t0, int64_t rows, int64_t u0,
               int64_t cols, scalar_t* panels, scalar_t* out) {
  constexpr int64_t stride = panel_stride(kEdge);
  scalar_t* right = t0 == u0 ? panels : panels + stride * kDepth;
  for (int64_t i = 0; i < width; i += kDepth) {
    const int64_t depth = std::min(kDepth, width - i);
    pack_positions(x, n, t0, rows, i, depth, panels, stride);
    if (t0 != u0) pack_positions(x, n, u0, cols, i, depth, right, stride);
    Ahead next;  // the next sample, if it is walked through once and lies in one piece
    const int64_t size = rows * width;
    if (rows == x.t.total() && x.n_stride == size && n + 1 < N)
      next.left = Ahead::linear(x.data + (n + 1) * size + rows * i, rows * depth * sizeof(scalar_t), depth);
    product<scalar_t>({right, stride}, cols, {panels, stride}, rows, depth, i > 0, out, cols,
                      t0 == u0 ? 0 : kEverything, &next);
  }
}

// The terms of positions t0 ... by u0 ..., u0 >= t0; those with u0 > t0 stand for their mirror image too.
template <typename scalar_t>
double gram_piece(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, int64_t n, int64_t t0,
                  int64_t u0, scalar_t* scratch) {
  scalar_t *aa = scratch, *bb = aa + kEdge * kEdge, *panels = bb + kEdge * kEdge;
  const int64_t rows = std::min(kEdge, s.T - t0), cols = std::min(kEdge, s.T - u0);
  gram_tile(a, s.N, n, s.I, t0, rows, u0, cols, panels, aa);
  gram_tile(b, s.N, n, s.O, t0, rows, u0, cols, panels, bb);
  if (t0 != u0) return 2 * dot(aa, bb, rows * cols);
  double total = 0;
  for (int64_t t = 0; t < rows; ++t) {
    const int64_t at = t * cols + t;
    total += 2 * dot(aa + at, bb + at, cols - t) - static_cast<double>(aa[at]) * bb[at];
  }
  return total;
}

template <typename scalar_t>
void norms_gram(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t cost = norms_cost(NormsMethod::gram, s), edges = ceil_div(s.T, kEdge);
  if (s.T <= kFew)
    return sum_pieces(
        s.N, 1, cost, [&] { return Scratch<scalar_t>(s.T * (panel_stride(s.I) + panel_stride(s.O))); },
        [&](int64_t n, int64_t, Scratch<scalar_t>& scratch) { return few_positions(s, a, b, n, scratch.data); }, out);
  sum_pieces(
      s.N, edges * edges, cost, [] { return Scratch<scalar_t>(2 * kEdge * kEdge + 2 * panel_stride(kEdge) * kDepth); },
      [&](int64_t n, int64_t p, Scratch<scalar_t>& scratch) {
        const int64_t row = p / edges, col = p % edges;
        return col < row ? 0 : gram_piece(s, a, b, n, row * kEdge, col * kEdge, scratch.data);
      },
      out);
}

template <typename scalar_t>
void norms_materialize(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  struct Worker {
    FormScratch<scalar_t> panels;
    Scratch<scalar_t> tile;
  };
  const Former<scalar_t> form(s, a, b, cheaper_layout(s));
  const Tiling tiling = tiles_of(form.rows, form.cols, kArea, kCols);
  sum_pieces(
      s.N, tiling.count(), norms_cost(NormsMethod::materialize, s),
      [&] { return Worker{FormScratch<scalar_t>(tiling), Scratch<scalar_t>(tiling.edge_rows * tiling.edge_cols)}; },
      [&](int64_t n, int64_t p, Worker& worker) {
        const Tile tile = tiling[p];
        form(n, tile, worker.panels, worker.tile.data, tile.cols);
        return dot(worker.tile.data, worker.tile.data, tile.size());
      },
      out);
}

}  // namespace

template <typename scalar_t>
void norms(NormsMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  if (s.I == 0 || s.O == 0)
    std::fill(out, out + s.N, scalar_t(0));
  else if (method == NormsMethod::gram)
    norms_gram(s, a, b, out);
  else
    norms_materialize(s, a, b, out);
}

template <typename scalar_t>
void norms(NormsMethod, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  sum_pieces(
      s.N, 1, s.T * s.O, [] { return 0; },
      [&](int64_t n, int64_t, int) {
        const std::vector<scalar_t> sum = columns_of(s, a, b, n).sum;
        return dot(sum.data(), sum.data(), static_cast<int64_t>(sum.size()));
      },
      out);
}

template void norms(NormsMethod, const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void norms(NormsMethod, const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void norms(NormsMethod, const PairShape&, const Ids&, const Rows<float>&, float*);
template void norms(NormsMethod, const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
