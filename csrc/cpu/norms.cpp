#include "../norms.h"

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"
#include "positions.h"

namespace infotorch::cpu {
namespace {

// Sizes follow from the shape and from how rows lie, and every result is a sum of pieces from left to right, so its
// bits don't depend on the number of threads.
constexpr int64_t kFew = 8;                // positions at most for which single dot products pay
constexpr int64_t kNear = 1 << 15;         // numbers of several samples' rows that stay in cache
constexpr int64_t kWorkPerTask = 1 << 16;  // multiply-adds that outweigh waking a thread

// Whether they do: fewer fill no tile of them, and narrow rows are no work for one.
bool has_few_positions(const PairShape& s) { return s.T <= (s.I + s.O < 256 ? kFew : 3); }

// out[n] = sum of piece(n, p, worker) over p < pieces; every thread makes a worker of its own.
template <typename scalar_t, typename MakeWorker, typename Piece>
void sum_pieces(int64_t N, int64_t pieces, int64_t cost, const MakeWorker& make_worker, const Piece& piece,
                scalar_t* out) {
  std::vector<double> partial(N * pieces);
  const int64_t grain = kWorkPerTask / (cost / std::max<int64_t>(1, pieces) + 1) + 1;
  parallel_tasks(N * pieces, grain, make_worker,
                 [&](int64_t p, auto& worker) { partial[p] = piece(p / pieces, p % pieces, worker); });
  for (int64_t n = 0; n < N; ++n) {
    double total = 0;
    for (int64_t p = 0; p < pieces; ++p) total += partial[n * pieces + p];
    out[n] = static_cast<scalar_t>(total < 0 ? 0 : total);  // rounding may dip below zero; NaN stays NaN
  }
}

// to[t, u] = <x[t], x[u]>, t <= u < T, some features at a time, which stay in the nearest cache.
template <typename scalar_t>
void form_products(const Panel<scalar_t>& x, int64_t T, int64_t width, double* to) {
  constexpr int64_t near = (64 << 10) / sizeof(scalar_t);  // numbers
  const int64_t slice = near / T / 64 * 64;
  std::fill(to, to + T * T, 0.);
  for (int64_t k = 0; k < width; k += slice)
    for (int64_t t = 0; t < T; ++t) {
      const scalar_t* const row = x.at(t, k).data;
      add_dots(row, row, x.stride, T - t, std::min(slice, width - k), to + t * T + t);
    }
}

// All terms of a sample with few positions.
template <typename scalar_t>
double few_positions(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, int64_t n,
                     scalar_t* scratch) {
  const Panel<scalar_t> a_n = features(a, n, 0, s.T, 0, s.I, 1, scratch);
  const Panel<scalar_t> b_n = features(b, n, 0, s.T, 0, s.O, 1, scratch + s.T * panel_stride(s.I));
  double aa[kFew * kFew], bb[kFew * kFew];
  form_products(a_n, s.T, s.I, aa);
  form_products(b_n, s.T, s.O, bb);
  double total = 0;
  for (int64_t t = 0; t < s.T; ++t)
    for (int64_t u = t; u < s.T; ++u) total += (u == t ? 1 : 2) * aa[t * s.T + u] * bb[t * s.T + u];
  return total;
}

// At one position a gradient is an outer product: out[n] = |a_n|^2 |b_n|^2.
template <typename scalar_t>
void norms_outer(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t some = std::clamp<int64_t>(kNear / std::max(s.I, s.O), 1, kSquaredRows);  // samples of a task
  const Rows<scalar_t> a_rows = stacked(a, 0, s.N), b_rows = stacked(b, 0, s.N);
  parallel_tasks(
      ceil_div(s.N, some), kWorkPerTask / (some * (s.I + s.O)) + 1,
      [&] { return Scratch<scalar_t>(some * panel_stride(std::max(s.I, s.O))); },
      [&](int64_t task, Scratch<scalar_t>& scratch) {
        const int64_t n0 = task * some, count = std::min(some, s.N - n0);
        double aa[kSquaredRows], bb[kSquaredRows];
        square_rows(a_rows, n0, count, scratch.data, aa);
        square_rows(b_rows, n0, count, scratch.data, bb);
        for (int64_t k = 0; k < count; ++k) out[n0 + k] = static_cast<scalar_t>(aa[k] * bb[k]);
      });
}

template <typename scalar_t>
void norms_gram(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  struct Worker {
    PositionTile<scalar_t> tile;
    Scratch<scalar_t> scratch;
  };
  constexpr int64_t edge = PositionTile<scalar_t>::kEdge;
  if (s.T == 1) return norms_outer(s, a, b, out);
  const int64_t cost = norms_cost(NormsMethod::gram, s), edges = ceil_div(s.T, edge);
  if (has_few_positions(s))
    return sum_pieces(
        s.N, 1, cost, [&] { return Scratch<scalar_t>(s.T * (panel_stride(s.I) + panel_stride(s.O))); },
        [&](int64_t n, int64_t, Scratch<scalar_t>& scratch) { return few_positions(s, a, b, n, scratch.data); }, out);
  sum_pieces(
      s.N, edges * edges, cost, [] { return Worker{{}, Scratch<scalar_t>(PositionTile<scalar_t>::kScratch)}; },
      [&](int64_t n, int64_t p, Worker& worker) {
        const int64_t row = p / edges * edge, col = p % edges * edge;
        double total = 0;
        if (col < row) return total;
        const Span rows = {row, std::min(edge, s.T - row), s.T}, cols = {col, std::min(edge, s.T - col), s.T};
        form_positions(a, n, rows, a, n, cols, row == col, n + 1 < s.N, worker.scratch.data, worker.tile.aa);
        form_positions(b, n, rows, b, n, cols, row == col, n + 1 < s.N, worker.scratch.data, worker.tile.bb);
        worker.tile.add_to(rows, cols, true, &total, 1);
        return total;
      },
      out);
}

template <typename scalar_t>
void norms_materialize(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  struct Worker {
    FormScratch<scalar_t> panels;
    Scratch<scalar_t> tile;
  };
  const bool by_blas = is_formed_by_blas(s, a, b);
  const Former<scalar_t> form(s, a, b, cheaper_layout(s, by_blas), by_blas);
  const Tiling tiling = form.tiling(form_area(s, sizeof(scalar_t)), kFormCols, blas_area<scalar_t>(1));
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
  if (s.T == 0 || s.I == 0 || s.O == 0)
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
      [&](int64_t n, int64_t, int&) {
        const Lookups lookups(s, a, n, 1);
        const RowSum<scalar_t> sum(b, n, 1, s.O);
        double total = 0;
        for (int64_t k = 0; k < lookups.count(); ++k) {
          const scalar_t* column = sum(lookups.begin(k), lookups.end(k), 0, s.O);
          total += dot(column, column, s.O);
        }
        return total;
      },
      out);
}

template void norms(NormsMethod, const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void norms(NormsMethod, const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void norms(NormsMethod, const PairShape&, const Ids&, const Rows<float>&, float*);
template void norms(NormsMethod, const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
