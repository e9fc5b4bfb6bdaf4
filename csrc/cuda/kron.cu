#include "../kron.h"
#include "batches.h"
#include "fill.h"
#include "outer_sum.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

// What one side holds: sums over the positions of each sample, if these are summed first.
template <typename scalar_t>
struct Held {
  scalar_t *sums, *partial;

  Held(KronSplit split, const PairShape& s, int64_t features, Scratch& scratch)
      : sums(scratch.take<scalar_t>(split == KronSplit::reduce ? staged_numbers(s.N, features) : 0)),
        partial(scratch.take<scalar_t>(outer_sum_partials(split == KronSplit::reduce ? s.N : s.N * s.T, features,
                                                          features, true, sizeof(scalar_t)))) {}
};

template <typename scalar_t>
auto need_of(KronSplit split, const PairShape& s, int64_t features) {
  return [=](int64_t N) { return bytes_of<Held<scalar_t>>(split, PairShape{N, s.T, s.I, s.O}, features); };
}

// What one side needs in all. Positions that count as samples are summed at once, as they lie.
template <typename scalar_t>
int64_t scratch_of(KronSplit split, const PairShape& s, int64_t features) {
  if (s.N == 0 || s.T == 0 || features == 0) return 0;
  const auto need = need_of<scalar_t>(split, s, features);
  return split == KronSplit::expand ? need(s.N) : need_of_batches(s.N, need);
}

template <typename scalar_t>
const char* factor(KronSplit split, const PairShape& s, const Rows<scalar_t>& x, int64_t features, void* scratch,
                   scalar_t* out, void* stream) {
  if (s.N == 0 || s.T == 0 || features == 0) return zero(features * features, out, stream);
  if (split == KronSplit::expand)
    return outer_sum(s.N, x, x, true, false, static_cast<scalar_t*>(scratch), out, stream);
  const scalar_t* const unweighted = nullptr;
  return in_batches(s.N, need_of<scalar_t>(split, s, features), [&](int64_t n, int64_t N) {
    Scratch memory(scratch);
    const Held<scalar_t> held(split, PairShape{N, s.T, s.I, s.O}, features, memory);
    Rows<scalar_t> sums;
    const char* error = stage<Change::sum>(from(x, n), N, unweighted, held.sums, sums, stream);
    return error ? error : outer_sum(1, sums, sums, true, n > 0, held.partial, out, stream);
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
const char* factor(KronSplit split, const PairShape& s, const Ids& ids, int64_t features, void* scratch, scalar_t* out,
                   void* stream) {
  if (s.N == 0 || s.T == 0 || features == 0) return zero(features * features, out, stream);
  if (split == KronSplit::expand)
    return launch(&total_kernel<scalar_t>, ceil_div(features * features, kThreads), kThreads, 0, stream, s.N, s.T,
                  features, ids, out);
  return in_batches(s.N, need_of<scalar_t>(split, s, features), [&](int64_t n, int64_t N) {
    Scratch memory(scratch);
    const Held<scalar_t> held(split, PairShape{N, s.T, s.I, s.O}, features, memory);
    const char* error = launch(&count_kernel<scalar_t>, ceil_div(N * features, kThreads), kThreads, 0, stream, n, N,
                               s.T, features, ids, held.sums);
    const Rows<scalar_t> counts = matrix<scalar_t>(held.sums, N, features);
    return error ? error : outer_sum(1, counts, counts, true, n > 0, held.partial, out, stream);
  });
}

template <typename scalar_t, typename Side>
const char* factors(KronSplit split, const PairShape& s, const Side& a, const Rows<scalar_t>& b, void* scratch,
                    scalar_t* A, scalar_t* B, void* stream) {
  const char* error = factor(split, s, a, s.I, scratch, A, stream);
  return error ? error : factor(split, s, b, s.O, scratch, B, stream);
}

}  // namespace

int64_t kron_scratch(KronSplit split, const PairShape& s, int64_t bytes) {
  const auto most = [&](auto zero) {
    using scalar_t = decltype(zero);
    return std::max(scratch_of<scalar_t>(split, s, s.I), scratch_of<scalar_t>(split, s, s.O));
  };
  return bytes == sizeof(double) ? most(double{}) : most(float{});
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
