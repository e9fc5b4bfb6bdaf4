#include "../kron.h"
#include "batches.h"
#include "fill.h"
#include "outer_sum.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

// Numbers of scratch for some samples of one side, in its order.
struct Needs {
  int64_t staged, partial;
  int64_t all() const { return staged + partial; }
};

Needs needs_of_samples(KronSplit split, int64_t N, int64_t T, int64_t features, int64_t bytes) {
  if (split == KronSplit::expand) return {0, outer_sum_partials(N * T, features, features, true, bytes)};
  return {aligned(staged_numbers(N, features)), outer_sum_partials(N, features, features, true, bytes)};
}

auto needs_of(KronSplit split, int64_t T, int64_t features, int64_t bytes) {
  return [=](int64_t N) { return bytes * needs_of_samples(split, N, T, features, bytes).all(); };
}

// What one side needs in all. Positions that count as samples are summed at once, as they lie.
int64_t scratch_of(KronSplit split, const PairShape& s, int64_t features, int64_t bytes) {
  if (s.N == 0 || s.T == 0 || features == 0) return 0;
  const auto need = needs_of(split, s.T, features, bytes);
  return split == KronSplit::expand ? need(s.N) : need_of_batches(s.N, need);
}

template <typename scalar_t>
const char* factor(KronSplit split, const PairShape& s, const Rows<scalar_t>& x, int64_t features, scalar_t* scratch,
                   scalar_t* out, void* stream) {
  if (s.N == 0 || s.T == 0 || features == 0) return zero(features * features, out, stream);
  if (split == KronSplit::expand) return outer_sum(s.N, x, x, true, false, scratch, out, stream);
  const scalar_t* const unweighted = nullptr;
  return in_batches(s.N, needs_of(split, s.T, features, sizeof(scalar_t)), [&](int64_t n, int64_t N) {
    const Needs needs = needs_of_samples(split, N, s.T, features, sizeof(scalar_t));
    Rows<scalar_t> sums;
    const char* error = stage<Change::sum>(from(x, n), N, unweighted, scratch, sums, stream);
    return error ? error : outer_sum(1, sums, sums, true, n > 0, scratch + needs.staged, out, stream);
  });
}

constexpr int kThreads = 256;

// Thread (n, i) counts how often sample n looks up row i: feature i of the sum of its one-hot rows, the bias included.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    count_kernel(int64_t first, int64_t N, int64_t T, int64_t I, const Ids ids, scalar_t* counts) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, n = at / I, i = at % I;
  if (n >= N) return;
  const int64_t* const id = ids.data + (first + n) * ids.n_stride;
  int64_t count = 0;
  for (int64_t t = 0; t < T; ++t) count += id[t * ids.t_stride] == i;
  counts[at] = static_cast<scalar_t>(ids.bias && i == I - 1 ? T : count);
}

// Thread (i, j) writes A of positions that count as samples, from how often each sample looks up each row: their total
// on the diagonal and, with a bias, in its row and column.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) total_kernel(int64_t N, int64_t T, int64_t I, const Ids ids, scalar_t* A) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, i = at / I, j = at % I;
  if (i >= I) return;
  const bool i_bias = ids.bias && i == I - 1, j_bias = ids.bias && j == I - 1;
  int64_t count = 0;
  if (i_bias && j_bias) {
    count = N * T;
  } else if (i == j || i_bias || j_bias) {
    for (int64_t n = 0; n < N; ++n)
      for (int64_t t = 0; t < T; ++t) count += ids.data[n * ids.n_stride + t * ids.t_stride] == (i_bias ? j : i);
  }
  A[at] = static_cast<scalar_t>(count);
}

template <typename scalar_t>
const char* factor(KronSplit split, const PairShape& s, const Ids& ids, int64_t features, scalar_t* scratch,
                   scalar_t* out, void* stream) {
  if (s.N == 0 || s.T == 0 || features == 0) return zero(features * features, out, stream);
  if (split == KronSplit::expand)
    return launch(&total_kernel<scalar_t>, ceil_div(features * features, kThreads), kThreads, 0, stream, s.N, s.T,
                  features, ids, out);
  return in_batches(s.N, needs_of(split, s.T, features, sizeof(scalar_t)), [&](int64_t n, int64_t N) {
    const Needs needs = needs_of_samples(split, N, s.T, features, sizeof(scalar_t));
    const char* error = launch(&count_kernel<scalar_t>, ceil_div(N * features, kThreads), kThreads, 0, stream, n, N,
                               s.T, features, ids, scratch);
    const Rows<scalar_t> counts = matrix<scalar_t>(scratch, N, features);
    return error ? error : outer_sum(1, counts, counts, true, n > 0, scratch + needs.staged, out, stream);
  });
}

template <typename scalar_t, typename Side>
const char* factors(KronSplit split, const PairShape& s, const Side& a, const Rows<scalar_t>& b, void* scratch,
                    scalar_t* A, scalar_t* B, void* stream) {
  auto* const numbers = static_cast<scalar_t*>(scratch);
  const char* error = factor(split, s, a, s.I, numbers, A, stream);
  return error ? error : factor(split, s, b, s.O, numbers, B, stream);
}

}  // namespace

int64_t kron_scratch(KronSplit split, const PairShape& s, int64_t bytes) {
  return std::max(scratch_of(split, s, s.I, bytes), scratch_of(split, s, s.O, bytes));
}

template <typename scalar_t>
const char* kron(KronSplit split, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, void* scratch,
                 scalar_t* A, scalar_t* B, void* stream) {
  return factors(split, s, a, b, scratch, A, B, stream);
}

template <typename scalar_t>
const char* kron(KronSplit split, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, void* scratch, scalar_t* A,
                 scalar_t* B, void* stream) {
  return factors(split, s, a, b, scratch, A, B, stream);
}

template const char* kron(KronSplit, const PairShape&, const Rows<float>&, const Rows<float>&, void*, float*, float*,
                          void*);
template const char* kron(KronSplit, const PairShape&, const Rows<double>&, const Rows<double>&, void*, double*,
                          double*, void*);
template const char* kron(KronSplit, const PairShape&, const Ids&, const Rows<float>&, void*, float*, float*, void*);
template const char* kron(KronSplit, const PairShape&, const Ids&, const Rows<double>&, void*, double*, double*, void*);

}  // namespace infotorch::cuda
