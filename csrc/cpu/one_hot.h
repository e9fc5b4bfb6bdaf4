// Gradients of one-hot inputs: nearly all columns of G[n] are zero, and the others are sums of rows of b. Nothing of
// length I is touched to find them.
#pragma once

#include <algorithm>
#include <vector>

#include "pack.h"
#include "reduce.h"

namespace infotorch::cpu {

// Terms of a sum in float64 before it joins the others of its kind: errors of 1e-16 that all have one sign add up.
constexpr int64_t kLongSum = 1 << 14;

// The columns that positions of samples n0 ... n0 + N point at; they increase. Positions are counted through all
// samples, and those of each column increase.
struct Lookups {
  Lookups(const PairShape& shape, const Ids& ids, int64_t n0, int64_t N);

  int64_t count() const { return static_cast<int64_t>(column.size()); }
  const int64_t* begin(int64_t k) const { return position.data() + first[k]; }
  const int64_t* end(int64_t k) const { return position.data() + first[k + 1]; }

  std::vector<int64_t> column, first, position;
};

// Sums of rows of b, some out-features at a time. Every thread has one of its own.
template <typename scalar_t>
class RowSum {
 public:
  // Positions are those of samples n0 ... n0 + N, counted through.
  RowSum(const Rows<scalar_t>& b, int64_t n0, int64_t N, int64_t most_width)
      : rows(stacked(b, n0, N)), packed(panel_stride(most_width)), sum(most_width), total(most_width) {}

  // Out-features o0 ... of one position, until the next call.
  const scalar_t* row(int64_t position, int64_t o0, int64_t width) const {
    return features(rows, 0, position, 1, o0, width, 1, packed.data).data;
  }

  // The same of their sum over the positions, summed in float64.
  const scalar_t* operator()(const int64_t* begin, const int64_t* end, int64_t o0, int64_t width) const {
    if (end - begin == 1) return row(*begin, o0, width);
    std::fill_n(sum.data, width, scalar_t(0));
    for (const int64_t* p = begin; p < end;) {
      std::fill_n(total.data, width, 0.);
      for (const int64_t* last = p + std::min(kLongSum, end - p); p < last; ++p)
        add_scaled(row(*p, o0, width), 1, width, total.data);
      for (int64_t o = 0; o < width; ++o) sum.data[o] += static_cast<scalar_t>(total.data[o]);
    }
    return sum.data;
  }

 private:
  const Rows<scalar_t> rows;
  const Scratch<scalar_t> packed, sum;
  const Scratch<double> total;
};

// Column column[k] of G[n], out-features o0 ... o0 + width, is sum[k * width : (k + 1) * width].
template <typename scalar_t>
struct SparseGrad {
  std::vector<int64_t> column;
  std::vector<scalar_t> sum;

  int64_t count() const { return static_cast<int64_t>(column.size()); }
};

template <typename scalar_t>
SparseGrad<scalar_t> sparse_grad(const Lookups& lookups, const RowSum<scalar_t>& sum, int64_t o0, int64_t width) {
  SparseGrad<scalar_t> grad = {lookups.column, std::vector<scalar_t>(lookups.count() * width)};
  for (int64_t k = 0; k < lookups.count(); ++k)
    std::copy_n(sum(lookups.begin(k), lookups.end(k), o0, width), width, grad.sum.data() + k * width);
  return grad;
}

// How many columns the gradient of one sample has at most.
inline int64_t most_columns(const PairShape& s, const Ids& ids) { return std::min(s.T + ids.bias, s.I); }

// <G[n], G[m]> over the same out-features, by walking through both lists of columns.
template <typename scalar_t>
double inner_product(const SparseGrad<scalar_t>& x, const SparseGrad<scalar_t>& y, int64_t width) {
  double total = 0;
  for (int64_t j = 0, k = 0; j < x.count() && k < y.count();) {
    if (x.column[j] == y.column[k]) total += dot(x.sum.data() + j * width, y.sum.data() + k * width, width);
    const bool first = x.column[j] <= y.column[k], second = y.column[k] <= x.column[j];
    j += first;
    k += second;
  }
  return total;
}

}  // namespace infotorch::cpu
