#include "../fisher.h"

#include <cmath>
#include <limits>
#include <vector>

#include "one_hot_sums.h"
#include "outer_sum.h"
#include "partial.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kVisits = 256;  // of a sum of squares before it is added to the others: neither sum is a long one
constexpr int64_t kWide = 256;    // features of both sides from which on BLAS wants larger tiles than partial sums do
constexpr int64_t kSquaredWork = 1 << 16;           // numbers squared that outweigh waking a thread
constexpr int64_t kPartialSize = int64_t{1} << 21;  // numbers in all partial results
constexpr int64_t kHeldBytes = int64_t{32} << 20;   // of gradients that the full form holds at once

// Whether the squares of x's largest sample lie in the middle of scalar_t's range, so that what they are multiplied by
// may too.
template <typename scalar_t>
bool has_ordinary_squares(const Rows<scalar_t>& x, int64_t N, int64_t width) {
  const double most = std::ldexp(1, std::numeric_limits<scalar_t>::max_exponent / 2 - 2);
  const Rows<scalar_t> rows = stacked(x, 0, N);
  std::vector<double> sums(N);
  parallel_for(ceil_div(N, kSquaredRows), kSquaredWork / (kSquaredRows * width) + 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> scratch(kSquaredRows * panel_stride(width));
    for (int64_t n = begin * kSquaredRows; n < std::min(N, end * kSquaredRows); n += kSquaredRows)
      square_rows(rows, n, std::min(kSquaredRows, N - n), scratch.data, sums.data() + n);
  });
  const auto fits = [most](double sum) { return sum <= most; };  // NaN does not
  return std::all_of(sums.begin(), sums.end(), fits) && *std::max_element(sums.begin(), sums.end()) >= 1 / most;
}

// One position: the square of a product is the product of the squares.
template <typename scalar_t>
void diagonal_of_products(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const auto square = [](int64_t, int64_t depth, int64_t width, scalar_t* x) { multiply(x, x, depth * width, x); };
  outer_sum(s.N, stacked(b, 0, s.N), s.O, square, stacked(a, 0, s.N), s.I, square, false, false, out);
}

// Tiles of the gradients, squared and added as they are formed. With few tiles, groups of samples go to partial
// results, added from left to right.
template <typename scalar_t>
void diagonal(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const bool by_blas = s.T >= kFormDepth && is_formed_by_blas(s, a, b);  // fewer positions are squared in registers
  const Layout layout = cheaper_layout(s, by_blas);
  const bool by_out = layout == Layout::out_by_in;
  const Former<scalar_t> form(s, a, b, layout, by_blas);
  const int64_t area_by_blas = blas_area<scalar_t>(std::min(s.I, s.O) > kWide ? 2 : 8);
  const Tiling large = form.tiling(kFormArea, kFormCols, area_by_blas);
  // Larger ones where all threads have some.
  const Tiling tiling = large.count() < kTasks ? form.tiling(kSharedArea, kFormCols, area_by_blas) : large;
  const int64_t tiles = tiling.count(), size = tiling.edge_rows * tiling.edge_cols;
  const int64_t most = std::clamp<int64_t>(kPartialSize / (tiles * size), 1, s.N);
  const int64_t splits = std::clamp<int64_t>(ceil_div(kTasks, tiles), 1, most);
  const Scratch<scalar_t> partial(splits > 1 ? tiles * splits * size : 0);

  const auto write = [&](const Tile& tile, const scalar_t* from) {
    scalar_t* const to = out + (by_out ? tile.r0 * s.I + tile.c0 : tile.c0 * s.I + tile.r0);
    if (by_out)
      copy_block(from, tile.cols, 1, tile.rows, tile.cols, to, s.I);
    else
      copy_block(from, 1, tile.cols, tile.cols, tile.rows, to, s.I);
  };
  struct Worker {
    FormScratch<scalar_t> panels;
    Scratch<scalar_t> formed, some, sum;
  };
  parallel_tasks(
      tiles * splits, 1,
      [&] {
        return Worker{FormScratch<scalar_t>(tiling), Scratch<scalar_t>(s.T > kFormDepth || by_blas ? size : 0),
                      Scratch<scalar_t>(size), Scratch<scalar_t>(splits > 1 ? 0 : size)};
      },
      [&](int64_t task, Worker& worker) {
        const Tile tile = tiling[task % tiles];
        const int64_t split = task / tiles, first = split * s.N / splits, last = (split + 1) * s.N / splits;
        scalar_t* const sum = splits > 1 ? partial.data + task * size : worker.sum.data;
        if (splits > 1) std::fill(sum + tile.size(), sum + size, scalar_t(0));
        for (int64_t n0 = first; n0 < last; n0 += kVisits) {
          scalar_t* const some = n0 == first ? sum : worker.some.data;
          if (!by_blas) std::fill(some, some + tile.size(), scalar_t(0));
          for (int64_t n = n0; n < std::min(last, n0 + kVisits); ++n) {
            scalar_t* const formed = worker.formed.data;
            form(n, tile, worker.panels, formed, tile.cols, by_blas ? Into::place : Into::squares, some);
            if (!by_blas) continue;
            if (n == n0)
              multiply(formed, formed, tile.size(), some);
            else
              add_column_dots(formed, formed, 0, 1, tile.size(), some);
          }
          if (some != sum) add_scaled(some, 1, tile.size(), sum);
        }
        if (splits == 1) write(tile, sum);
      });
  if (splits == 1) return;
  sum_partial(partial.data, splits, tiles * size, partial.data);
  for (int64_t p = 0; p < tiles; ++p) write(tiling[p], partial.data + p * size);
}

// Gradients of some samples, then the sum of their outer products.
template <typename scalar_t>
void full(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t area = s.O * s.I;
  const Former<scalar_t> form(s, a, b, Layout::out_by_in, is_formed_by_blas(s, a, b));
  const Tiling tiling = form.tiling(kSharedArea, kFormCols, blas_area<scalar_t>(1));
  const int64_t step = std::clamp<int64_t>(kHeldBytes / static_cast<int64_t>(sizeof(scalar_t) * area), 1, s.N);
  const Scratch<scalar_t> held(step * area);
  for (int64_t n = 0; n < s.N; n += step) {
    const int64_t count = std::min(step, s.N - n), tiles = tiling.count();
    parallel_tasks(
        count * tiles, 1, [&] { return FormScratch<scalar_t>(tiling); },
        [&](int64_t task, const FormScratch<scalar_t>& panels) {
          const Tile tile = tiling[task % tiles];
          form(n + task / tiles, tile, panels, held.data + task / tiles * area + tile.r0 * s.I + tile.c0, s.I);
        });
    Rows<scalar_t> rows = {held.data, Storage::same, 0, {}, {}};
    rows.t.append(count, area);
    rows.i.append(area, 1);
    second_moment(count, rows, area, n > 0, out);
  }
}

}  // namespace

template <typename scalar_t>
void fisher(FisherForm form, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t area = s.O * s.I;
  if (s.N == 0 || s.T == 0 || area == 0)
    std::fill(out, out + (form == FisherForm::full ? area * area : area), scalar_t(0));
  else if (form == FisherForm::full)
    full(s, a, b, out);
  else if (s.T == 1 && has_ordinary_squares(a, s.N, s.I) && has_ordinary_squares(b, s.N, s.O))
    diagonal_of_products(s, a, b, out);
  else
    diagonal(s, a, b, out);
}

template <typename scalar_t>
void fisher(FisherForm form, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  if (s.O == 0 || s.I == 0) return;
  if (form == FisherForm::full) return sum_outer_products(s, a, b, out);
  const auto add = [&](const Pointing& from, const RowSum<scalar_t>& sum, int64_t o0, int64_t width, double* total) {
    for (const int64_t *p = from.begin, *next; p < from.end; p = next) {
      next = end_of_sample(p, from.end, s.T);
      const scalar_t* const g = sum(p, next, o0, width);
      for (int64_t o = 0; o < width; ++o) total[o] += static_cast<double>(g[o]) * g[o];
    }
  };
  sum_columns(s, a, b, 1, add, out);
}

template void fisher(FisherForm, const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void fisher(FisherForm, const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void fisher(FisherForm, const PairShape&, const Ids&, const Rows<float>&, float*);
template void fisher(FisherForm, const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
