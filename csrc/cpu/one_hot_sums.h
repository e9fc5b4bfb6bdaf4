// Sums over the samples of a one-hot input. Samples are taken some at a time, and summed column by column in float64
// before the result sees them: a column that every sample has is a long sum.
#pragma once

#include <algorithm>
#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cpu {

constexpr int64_t kLookups = 1 << 18;     // positions sorted at once
constexpr int64_t kColumnSums = 1 << 21;  // numbers of sparse gradients held at once

// The end of the positions from p on that are p's sample's.
inline const int64_t* end_of_sample(const int64_t* p, const int64_t* end, int64_t T) {
  const int64_t next = (*p / T + 1) * T;
  while (p < end && *p < next) ++p;
  return p;
}

// The positions of some samples, counted through from those of sample n0 on, that point at one column.
struct Pointing {
  const int64_t *begin, *end;
  int64_t n0;
};

// out[k] [O, I] = sum over samples of what `add` makes of each of their columns, k < K. add(pointing, sum, o0, width,
// total) adds that to total [K, width], in float64, for out-features o0 ... o0 + width; `sum` has their rows of b.
template <typename scalar_t, typename Add>
void sum_columns(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, int64_t K, const Add& add, scalar_t* out) {
  constexpr int64_t rows = 32, most_cols = 512, work_per_task = 1 << 14;
  const int64_t across = std::max(ceil_div(kTasks, ceil_div(s.O, rows)), ceil_div(s.I, most_cols));
  const Tiling tiling = {s.O, s.I, rows, ceil_div(s.I, across)};
  struct Worker {
    RowSum<scalar_t> sum;
    Scratch<double> total;
  };
  const int64_t step = std::max<int64_t>(1, kLookups / std::max<int64_t>(1, s.T));
  int64_t n0 = 0;
  do {  // once even if there are no samples
    const int64_t N = std::min(step, s.N - n0), work = rows * (tiling.edge_cols + N * s.T / across + 1);
    const Lookups lookups(s, a, n0, N);
    const auto first_from = [&](int64_t column) {
      return std::lower_bound(lookups.column.begin(), lookups.column.end(), column) - lookups.column.begin();
    };
    parallel_tasks(
        tiling.count(), ceil_div(work_per_task, K * work),
        [&] { return Worker{RowSum<scalar_t>(b, n0, N, rows), Scratch<double>(K * rows)}; },
        [&](int64_t task, Worker& worker) {
          const Tile tile = tiling[task];
          double* const total = worker.total.data;
          const auto row = [&](int64_t k, int64_t r) { return out + (k * s.O + tile.r0 + r) * s.I; };
          for (int64_t k = 0; k < K && n0 == 0; ++k)
            for (int64_t r = 0; r < tile.rows; ++r) std::fill_n(row(k, r) + tile.c0, tile.cols, scalar_t(0));
          for (int64_t j = first_from(tile.c0), beyond = first_from(tile.c0 + tile.cols); j < beyond; ++j) {
            for (const int64_t *p = lookups.begin(j), *end = lookups.end(j), *last; p < end; p = last) {
              last = end_of_sample(p + std::min(kLongSum, end - p) - 1, end, s.T);
              std::fill_n(total, K * tile.rows, 0.);
              add(Pointing{p, last, n0}, worker.sum, tile.r0, tile.rows, total);
              for (int64_t k = 0; k < K; ++k)
                for (int64_t r = 0; r < tile.rows; ++r)
                  row(k, r)[lookups.column[j]] += static_cast<scalar_t>(total[k * tile.rows + r]);
            }
          }
        });
    n0 += N;
  } while (n0 < s.N);
}

// out [O I, O I] = sum over samples of the outer product of their gradients, symmetric to the bit.
template <typename scalar_t>
void sum_outer_products(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t area = s.O * s.I;
  parallel_for(area, 16,
               [&](int64_t begin, int64_t end) { std::fill(out + begin * area, out + end * area, scalar_t(0)); });
  const int64_t fit = std::min(kColumnSums / (most_columns(s, a) * s.O + 1), kLookups / (s.T + 1));
  const int64_t held = std::clamp<int64_t>(fit, 1, kLongSum);
  for (int64_t n0 = 0, N; n0 < s.N; n0 += N) {
    N = std::min(held, s.N - n0);
    const Lookups lookups(s, a, n0, N);
    std::vector<SparseGrad<scalar_t>> grads(N);
    parallel_for(N, ceil_div(1 << 14, s.T * s.O + 1), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        grads[n] = sparse_grad(Lookups(s, a, n0 + n, 1), RowSum<scalar_t>(b, n0 + n, 1, s.O), 0, s.O);
    });
    parallel_tasks(
        lookups.count() * s.O, 1, [&] { return Scratch<double>(area); },
        [&](int64_t task, const Scratch<double>& total) {
          const int64_t k = task / s.O, o = task % s.O, column = lookups.column[k];
          std::fill_n(total.data, area, 0.);
          for (const int64_t *p = lookups.begin(k), *end = lookups.end(k); p < end; p = end_of_sample(p, end, s.T)) {
            const SparseGrad<scalar_t>& g = grads[*p / s.T];
            const int64_t at = std::lower_bound(g.column.begin(), g.column.end(), column) - g.column.begin();
            const double value = g.sum[at * s.O + o];
            for (int64_t c = 0; c < g.count(); ++c)
              for (int64_t q = 0; q < s.O; ++q) total.data[q * s.I + g.column[c]] += value * g.sum[c * s.O + q];
          }
          scalar_t* const row = out + (o * s.I + column) * area;
          for (int64_t i = 0; i < area; ++i) row[i] += static_cast<scalar_t>(total.data[i]);
        });
  }
}

}  // namespace infotorch::cpu
