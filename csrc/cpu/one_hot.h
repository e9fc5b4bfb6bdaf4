// Gradients of one-hot inputs: nearly all columns of G[n] are zero, so only those that some position points at are
// kept, each once. Nothing of length I is touched.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "pack.h"
#include "reduce.h"

namespace infotorch::cpu {

// Column column[k] of G[n] is sum[k * O : (k + 1) * O]; columns increase.
template <typename scalar_t>
struct Columns {
  std::vector<int64_t> column;
  std::vector<scalar_t> sum;

  int64_t count() const { return static_cast<int64_t>(column.size()); }
};

template <typename scalar_t>
Columns<scalar_t> columns_of(const PairShape& s, const Ids& ids, const Rows<scalar_t>& b, int64_t n) {
  const int64_t* id = ids.data + n * ids.n_stride;
  std::vector<int64_t> order(s.T);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t t, int64_t u) { return id[t * ids.t_stride] < id[u * ids.t_stride]; });
  Columns<scalar_t> columns;
  const auto append = [&](int64_t column) {
    columns.column.push_back(column);
    columns.sum.resize(columns.sum.size() + s.O);
    return columns.sum.data() + columns.sum.size() - s.O;
  };
  const Scratch<scalar_t> packed(panel_stride(s.O));
  const auto add = [&](int64_t t, scalar_t* to) {
    const scalar_t* row = features(b, n, t, 1, 0, s.O, 1, packed.data).data;
    for (int64_t o = 0; o < s.O; ++o) to[o] += row[o];
  };
  scalar_t* to = nullptr;
  for (const int64_t t : order) {
    const int64_t column = id[t * ids.t_stride];
    if (columns.column.empty() || columns.column.back() != column) to = append(column);
    add(t, to);
  }
  if (ids.bias && s.T > 0) {
    to = append(s.I - 1);
    for (int64_t t = 0; t < s.T; ++t) add(t, to);
  }
  return columns;
}

// <G[n], G[m]>, by walking through both lists of columns.
template <typename scalar_t>
double inner_product(const Columns<scalar_t>& x, const Columns<scalar_t>& y, int64_t O) {
  double total = 0;
  for (int64_t j = 0, k = 0; j < x.count() && k < y.count();) {
    if (x.column[j] == y.column[k]) total += dot(x.sum.data() + j * O, y.sum.data() + k * O, O);
    const bool first = x.column[j] <= y.column[k], second = y.column[k] <= x.column[j];
    j += first;
    k += second;
  }
  return total;
}

}  // namespace infotorch::cpu
