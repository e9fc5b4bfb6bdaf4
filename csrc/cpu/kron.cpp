#include "../kron.h"

#include "one_hot_sums.h"
#include "outer_sum.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBudget = int64_t{16} << 20;  // bytes of summed positions held at once
constexpr int64_t kCols = 1024;                 // of a sum over positions, which stays in a 32 KiB cache

// to [N, width] = sum over t of x[n, t], of samples n0 ... n0 + N.
template <typename scalar_t>
void sum_samples(const Rows<scalar_t>& x, int64_t n0, int64_t N, int64_t T, int64_t width, scalar_t* to) {
  parallel_for(N, ceil_div(1 << 14, T * width + 1), [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> scratch(kFormDepth * panel_stride(kCols));
    const Scratch<double> sum(kCols);
    for (int64_t n = begin; n < end; ++n)
      for (int64_t c = 0; c < width; c += kCols) {
        const int64_t cols = std::min(kCols, width - c);
        sum_positions(x, n0 + n, T, c, cols, scratch.data, sum.data);
        std::copy_n(sum.data, cols, to + n * width + c);
      }
  });
}

// out [width, width]: one factor.
template <typename scalar_t>
void factor(KronSplit split, const PairShape& s, const Rows<scalar_t>& x, int64_t width, scalar_t* out) {
  if (split == KronSplit::expand || s.T == 1) return second_moment(s.N * s.T, stacked(x, 0, s.N), width, false, out);
  const int64_t step = std::clamp<int64_t>(kBudget / static_cast<int64_t>(sizeof(scalar_t) * width), 1, s.N);
  const Scratch<scalar_t> sums(step * width);
  for (int64_t n = 0; n < s.N; n += step) {
    const int64_t count = std::min(step, s.N - n);
    sum_samples(x, n, count, s.T, width, sums.data);
    Rows<scalar_t> rows = {sums.data, Storage::same, 0, {}, {}};
    rows.t.append(count, width);
    rows.i.append(width, 1);
    second_moment(count, rows, width, n > 0, out);
  }
}

// out [width, width] = 0 where there are no rows.
template <typename scalar_t>
void write_factor(KronSplit split, const PairShape& s, const Rows<scalar_t>& x, int64_t width, scalar_t* out) {
  if (s.N == 0 || s.T == 0)
    std::fill(out, out + width * width, scalar_t(0));
  else if (width > 0)
    factor(split, s, x, width, out);
}

// A of one-hot rows: nothing but counts of columns, and of pairs of columns.
template <typename scalar_t>
void write_counts(KronSplit split, const PairShape& s, const Ids& a, scalar_t* A) {
  if (split == KronSplit::reduce) {
    const scalar_t one = 1;
    Rows<scalar_t> ones = {&one, Storage::same, 0, {}, {}};  // summing them in each column counts it
    ones.t.append(s.T, 0);
    ones.i.append(1, 1);
    return sum_outer_products({s.N, s.T, s.I, 1}, a, ones, A);
  }
  const int64_t last = s.I - 1;
  std::fill(A, A + s.I * s.I, scalar_t(0));
  std::vector<int64_t> count(s.I);
  for (int64_t n = 0; n < s.N; ++n)
    for (int64_t t = 0; t < s.T; ++t) ++count[a.data[n * a.n_stride + t * a.t_stride]];
  if (a.bias) count[last] = s.N * s.T;
  for (int64_t i = 0; i < s.I; ++i) {
    A[i * s.I + i] = static_cast<scalar_t>(count[i]);
    if (a.bias) A[i * s.I + last] = A[last * s.I + i] = static_cast<scalar_t>(count[i]);
  }
}

}  // namespace

template <typename scalar_t>
void kron(KronSplit split, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* A,
          scalar_t* B) {
  write_factor(split, s, a, s.I, A);
  write_factor(split, s, b, s.O, B);
}

template <typename scalar_t>
void kron(KronSplit split, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* A, scalar_t* B) {
  write_counts(split, s, a, A);
  write_factor(split, s, b, s.O, B);
}

template void kron(KronSplit, const PairShape&, const Rows<float>&, const Rows<float>&, float*, float*);
template void kron(KronSplit, const PairShape&, const Rows<double>&, const Rows<double>&, double*, double*);
template void kron(KronSplit, const PairShape&, const Ids&, const Rows<float>&, float*, float*);
template void kron(KronSplit, const PairShape&, const Ids&, const Rows<double>&, double*, double*);

}  // namespace infotorch::cpu
