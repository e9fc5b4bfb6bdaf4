#include "../norms.h"
#include "positions.h"
#include "reduce.h"

namespace infotorch::cuda {
namespace {

template <typename scalar_t>
__device__ scalar_t never_negative(double total) {
  return static_cast<scalar_t>(total < 0 ? 0 : total);  // rounding may dip below zero; NaN stays NaN
}

// Thread 0 hands on the block's total: to out if the sample has no other block.
template <int kThreads, typename scalar_t>
__device__ void hand_on(double total, int64_t blocks_of_sample, double* partial, scalar_t* out) {
  total = block_sum<kThreads>(total, dynamic_shared<double>());
  if (threadIdx.x > 0) return;
  if (blocks_of_sample == 1)
    out[blockIdx.x] = never_negative<scalar_t>(total);
  else
    partial[blockIdx.x] = total;
}

// Block (n, tile) sums its tile of (a a^T) * (b b^T) [T, T], of which the tiles below the diagonal are left out.
template <typename P, int kBlocks, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, kBlocks)
    gram_kernel(int64_t T, Tiling tiles, const __grid_constant__ LeftSide<stored_t> a,
                const __grid_constant__ View<stored_t> b, double* partial, typename P::scalar_t* out) {
  const int64_t n = blockIdx.x / tiles.count();
  const Tiling::Place tile = tiles[blockIdx.x % tiles.count()];
  const Span rows = {n * T + tile.row * P::kEdge, (n + 1) * T}, cols = {n * T + tile.col * P::kEdge, (n + 1) * T};
  typename P::Accumulator aa, bb;
  inner_products<P>(a, rows, a, cols, aa);
  inner_products<P>(b, rows, b, cols, bb);
  typename P::scalar_t sum = 0;
#pragma unroll
  for (int k = 0; k < P::kCount; ++k) sum += aa.value[k] * bb.value[k];
  hand_on<P::kThreads>(tile.row == tile.col ? sum : 2. * sum, tiles.count(), partial, out);
}

// Block (n, tile) sums the squares of its tile of G[n] [O, I].
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    materialize_kernel(int64_t T, Tiling tiles, const __grid_constant__ View<stored_t> a,
                       const __grid_constant__ View<stored_t> b, double* partial, typename P::scalar_t* out) {
  const int64_t n = blockIdx.x / tiles.count();
  const Tiling::Place tile = tiles[blockIdx.x % tiles.count()];
  typename P::Accumulator g = {};
  P::add({b, tile.row * P::kEdge, b.features}, {a, tile.col * P::kEdge, a.features}, n * T, (n + 1) * T, g);
  typename P::scalar_t sum = 0;
#pragma unroll
  for (int k = 0; k < P::kCount; ++k) sum += g.value[k] * g.value[k];
  hand_on<P::kThreads>(sum, tiles.count(), partial, out);
}

constexpr int kFewThreads = 256, kFewWarps = kFewThreads / kWarp;

// Warp n adds the blocks of sample n, each lane every 32nd of them.
template <typename scalar_t>
__global__ void __launch_bounds__(kFewThreads)
    sum_kernel(int64_t N, int64_t blocks, const double* partial, scalar_t* out) {
  const int64_t n = (static_cast<int64_t>(blockIdx.x) * kFewThreads + threadIdx.x) / kWarp;
  if (n >= N) return;
  double total = 0;
  for (int64_t p = threadIdx.x % kWarp; p < blocks; p += kWarp) total += partial[n * blocks + p];
  total = warp_sum(total);
  if (threadIdx.x % kWarp == 0) out[n] = never_negative<scalar_t>(total);
}

// Inner products of a sample's positions t >= u at [t (t + 1) / 2 + u], for kT positions or fewer.
template <typename scalar_t, int kT>
struct Pairs {
  static constexpr int kCount = kT * (kT + 1) / 2;
  scalar_t value[kCount] = {};

  __device__ __forceinline__ void add(const scalar_t (&x)[kT]) {
#pragma unroll
    for (int t = 0; t < kT; ++t)
#pragma unroll
      for (int u = 0; u <= t; ++u) value[t * (t + 1) / 2 + u] += x[t] * x[u];
  }
};

// This thread's share of the pairs: features `first`, `first` + `lanes` ... or as many chunks.
template <int kT, typename scalar_t, typename stored_t>
__device__ __forceinline__ void add_pairs(const View<stored_t>& x, int64_t p, int T, int first, int lanes,
                                          Pairs<scalar_t, kT>& pairs) {
  const int64_t features = x.features - x.bias;
  const stored_t* row[kT];
#pragma unroll
  for (int t = 0; t < kT; ++t) row[t] = x.data + offset(x.p, t < T ? p + t : p);
  int64_t done = 0;
  if (x.wide && x.fast == Along::features) {
    constexpr int kLength = kChunk<stored_t>;
    done = features / kLength * kLength;
    for (int64_t i = static_cast<int64_t>(first) * kLength; i < done; i += static_cast<int64_t>(lanes) * kLength) {
      const int64_t at = offset(x.i, i);
      Chunk<stored_t> chunk[kT];
#pragma unroll
      for (int t = 0; t < kT; ++t) chunk[t].load(row[t] + at);
#pragma unroll
      for (int j = 0; j < kLength; ++j) {
        scalar_t value[kT];
#pragma unroll
        for (int t = 0; t < kT; ++t) value[t] = t < T ? widen(chunk[t].get(j)) : scalar_t(0);
        pairs.add(value);
      }
    }
  }
  for (int64_t i = done + first; i < features; i += lanes) {
    const int64_t at = offset(x.i, i);
    scalar_t value[kT];
#pragma unroll
    for (int t = 0; t < kT; ++t) value[t] = t < T ? widen(row[t][at]) : scalar_t(0);
    pairs.add(value);
  }
  if (x.bias && first == 0) {
#pragma unroll
    for (int k = 0; k < pairs.kCount; ++k) pairs.value[k] += 1;
  }
}

template <int kT, typename scalar_t, typename stored_t>
__device__ __forceinline__ void add_pairs(const LeftSide<stored_t>& x, int64_t p, int T, int first, int lanes,
                                          Pairs<scalar_t, kT>& pairs) {
  if (x.ids == nullptr) return add_pairs(x.rows, p, T, first, lanes, pairs);
  if (first > 0) return;
  int64_t id[kT];
#pragma unroll
  for (int t = 0; t < kT; ++t) id[t] = x.id(t < T ? p + t : p);
#pragma unroll
  for (int t = 0; t < kT; ++t)
#pragma unroll
    for (int u = 0; u <= t; ++u) pairs.value[t * (t + 1) / 2 + u] += (id[t] == id[u]) + x.bias;
}

constexpr int64_t kManyFeatures = 4096;  // from here on a sample is worth a block, below it a warp

// Warps n * warps ... of all blocks sum all terms of sample n, whose T positions are few; warps is 1, or a block's.
template <int kT, typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kFewThreads, 2)
    few_positions_kernel(PairShape s, int warps, const __grid_constant__ LeftSide<stored_t> a,
                         const __grid_constant__ View<stored_t> b, scalar_t* out) {
  constexpr int kCount = Pairs<scalar_t, kT>::kCount;
  const int lanes = warps * kWarp, first = threadIdx.x % lanes;
  const int64_t n = (static_cast<int64_t>(blockIdx.x) * kFewThreads + threadIdx.x) / lanes;
  const bool exists = n < s.N;
  Pairs<scalar_t, kT> aa, bb;
  if (exists) {
    add_pairs(a, n * s.T, static_cast<int>(s.T), first, lanes, aa);
    add_pairs(b, n * s.T, static_cast<int>(s.T), first, lanes, bb);
  }
  scalar_t* const cells = dynamic_shared<scalar_t>();  // [warp, side, pair]
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    const scalar_t a_sum = warp_sum(aa.value[k]), b_sum = warp_sum(bb.value[k]);
    scalar_t* const mine = cells + threadIdx.x / kWarp * 2 * kCount + k;
    if (threadIdx.x % kWarp == 0) mine[0] = a_sum, mine[kCount] = b_sum;
  }
  __syncthreads();
  if (!exists || first > 0) return;
  const scalar_t* const own = cells + threadIdx.x / kWarp * 2 * kCount;
  double total = 0;
#pragma unroll
  for (int t = 0; t < kT; ++t)
#pragma unroll
    for (int u = 0; u <= t; ++u) {
      scalar_t a_sum = 0, b_sum = 0;
      for (int w = 0; w < warps; ++w) {
        a_sum += own[w * 2 * kCount + t * (t + 1) / 2 + u];
        b_sum += own[w * 2 * kCount + t * (t + 1) / 2 + u + kCount];
      }
      if (t < s.T) total += (u == t ? 1. : 2.) * a_sum * b_sum;
    }
  out[n] = never_negative<scalar_t>(total);
}

template <int kT, typename stored_t, typename scalar_t>
const char* few_positions(const PairShape& s, const LeftSide<stored_t>& a, const View<stored_t>& b, scalar_t* out,
                          void* stream) {
  const int warps = s.I + s.O >= kManyFeatures ? kFewWarps : 1;
  const int shared_bytes = kFewWarps * 2 * Pairs<scalar_t, kT>::kCount * sizeof(scalar_t);
  return launch(&few_positions_kernel<kT, stored_t, scalar_t>, ceil_div(s.N * warps, kFewWarps), kFewThreads,
                shared_bytes, stream, s, warps, a, b, out);
}

template <typename scalar_t>
const char* sum(int64_t N, int64_t blocks, const double* partial, scalar_t* out, void* stream) {
  return launch(&sum_kernel<scalar_t>, ceil_div(N, kFewWarps), kFewThreads, 0, stream, N, blocks, partial, out);
}

template <typename scalar_t, typename stored_t>
const char* gram(const PairShape& s, const LeftSide<stored_t>& a, const View<stored_t>& b, bool tf32, double* partial,
                 scalar_t* out, void* stream) {
  if (s.T == 1) return few_positions<1>(s, a, b, out, stream);
  if (s.T <= kFewPositions) return few_positions<kFewPositions>(s, a, b, out, stream);
  const Tiling tiles = norms_tiling(NormsMethod::gram, s, sizeof(scalar_t));
  const char* error = with_product<stored_t, Along::features>(tiles.edge, tf32, [&](auto product) {
    using P = decltype(product);
    // Two tiles of sums a thread: the largest leave room for one block on an SM.
    constexpr int kBlocks = P::kEdge == most_edge(sizeof(scalar_t)) ? 1 : 2;
    return launch(&gram_kernel<P, kBlocks, stored_t>, s.N * tiles.count(), P::kThreads, P::kSharedBytes, stream, s.T,
                  tiles, a, b, partial, out);
  });
  return error || tiles.count() == 1 ? error : sum(s.N, tiles.count(), partial, out, stream);
}

template <typename scalar_t, typename stored_t>
const char* materialize(const PairShape& s, const View<stored_t>& a, const View<stored_t>& b, bool tf32,
                        double* partial, scalar_t* out, void* stream) {
  const Tiling tiles = norms_tiling(NormsMethod::materialize, s, sizeof(scalar_t));
  const char* error = with_product<stored_t, Along::positions>(tiles.edge, tf32, [&](auto product) {
    using P = decltype(product);
    return launch(&materialize_kernel<P, stored_t>, s.N * tiles.count(), P::kThreads, P::kSharedBytes, stream, s.T,
                  tiles, a, b, partial, out);
  });
  return error || tiles.count() == 1 ? error : sum(s.N, tiles.count(), partial, out, stream);
}

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

}  // namespace

int64_t norms_partials(NormsMethod method, const PairShape& s, bool one_hot, int64_t bytes) {
  if (one_hot) method = NormsMethod::gram;
  if (empty(s) || (method == NormsMethod::gram && s.T <= kFewPositions)) return 0;
  const int64_t tiles = norms_tiling(method, s, bytes).count();
  return tiles == 1 ? 0 : s.N * tiles;
}

template <typename scalar_t>
const char* norms(NormsMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, bool tf32,
                  double* partial, scalar_t* out, void* stream) {
  if (empty(s)) return sum(s.N, 0, partial, out, stream);
  return with_views(
      [&](const auto& a_view, const auto& b_view) {
        return method == NormsMethod::gram ? gram(s, left_side(a_view), b_view, tf32, partial, out, stream)
                                           : materialize(s, a_view, b_view, tf32, partial, out, stream);
      },
      Stack{a, s.N}, Stack{b, s.N});
}

template <typename scalar_t>
const char* norms(NormsMethod, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, bool tf32, double* partial,
                  scalar_t* out, void* stream) {
  if (empty(s)) return sum(s.N, 0, partial, out, stream);
  return with_views(
      [&](const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(b_view)>::stored_t;
        return gram(s, left_side<stored_t>(a, s), b_view, tf32, partial, out, stream);
      },
      Stack{b, s.N});
}

template const char* norms(NormsMethod, const PairShape&, const Rows<float>&, const Rows<float>&, bool, double*, float*,
                           void*);
template const char* norms(NormsMethod, const PairShape&, const Rows<double>&, const Rows<double>&, bool, double*,
                           double*, void*);
template const char* norms(NormsMethod, const PairShape&, const Ids&, const Rows<float>&, bool, double*, float*, void*);
template const char* norms(NormsMethod, const PairShape&, const Ids&, const Rows<double>&, bool, double*, double*,
                           void*);

}  // namespace infotorch::cuda
