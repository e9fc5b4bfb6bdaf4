#include "../jvp.h"
#include "batches.h"
#include "edges.h"
#include "fill.h"
#include "one_hot.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

constexpr int64_t kChunkDepth = 1024;     // features of one product: sums this long stay in float
constexpr int64_t kGroupedBlocks = 2048;  // of samples that are formed one after another, from here on
constexpr int64_t kMostSamples = 32;      // of such a block

// What one launch of apply does: one side of the pair takes the direction, the other is multiplied elementwise.
struct Apply {
  int64_t positions, T, K, C, D;  // C features take a direction [D, C]
  int64_t strips, chunks, pieces;

  Apply(int64_t N, int64_t T, int64_t K, int64_t C, int64_t D, int edge)
      : positions(N * T), T(T), K(K), C(C), D(D), strips(ceil_div(N * T, edge)), chunks(ceil_div(C, kChunkDepth)) {
    pieces = chunks * ceil_div(D, edge);
  }

  struct Place {
    int64_t p, k, c, d;  // where a block begins
  };
  __device__ __forceinline__ Place place(unsigned block, int edge) const {
    const auto all = static_cast<unsigned>(pieces), directions = static_cast<unsigned>(K);
    const unsigned piece = block % all, depths = static_cast<unsigned>(chunks);
    return {static_cast<int64_t>(block / all / directions) * edge, block / all % directions,
            piece % depths * kChunkDepth, static_cast<int64_t>(piece / depths) * edge};
  }
};

// Block (piece, k, strip) sums its piece of (taking v[k]^T) * other, some of the features on either side, into one
// number for each position of its strip.
template <typename P, typename scalar_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    apply_kernel(const __grid_constant__ Apply s, const __grid_constant__ View<scalar_t> taking,
                 const __grid_constant__ View<scalar_t> other, const __grid_constant__ View<scalar_t> v,
                 double* partial) {
  using Math = typename P::Math;
  typename P::Accumulator acc = {};
  {
    const Apply::Place at = s.place(blockIdx.x, P::kEdge);
    P::add({taking, at.p, s.positions}, {v, at.k * s.D + at.d, (at.k + 1) * s.D}, at.c, min(s.C, at.c + kChunkDepth),
           acc);
  }
  const Apply::Place first = s.place(anew(blockIdx.x), P::kEdge);

  // Where the other side's numbers lie, as TileReader has it.
  auto* const row_at = dynamic_shared<int64_t>();
  int64_t* const col_at = row_at + P::kEdge;
  auto* const sums = reinterpret_cast<double*>(col_at + P::kEdge);  // [warps across, kEdge]
  constexpr int64_t kAbsent = -1, kOnes = -2;
  for (int e = threadIdx.x; e < P::kEdge; e += P::kThreads) {
    const int64_t p = first.p + e, d = first.d + e;
    row_at[e] = p < s.positions ? offset(other.p, p) : kAbsent;
    col_at[e] = d >= s.D ? kAbsent : other.bias && d == s.D - 1 ? kOnes : offset(other.i, d);
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < Math::kRows; ++r) {
    const int row = P::row(r * Math::kCols);
    const int64_t at = row_at[row];
    scalar_t sum = 0;
#pragma unroll
    for (int c = 0; c < Math::kCols; ++c) {
      const int64_t by = col_at[P::col(c)];
      if (at == kAbsent || by == kAbsent) continue;
      sum += acc.value[r * Math::kCols + c] * (by == kOnes ? scalar_t(1) : other.data[at + by]);
    }
#pragma unroll
    for (int bit = Math::kLanesAcross / 2; bit > 0; bit /= 2) sum += __shfl_xor_sync(~0u, sum, bit);
    if (threadIdx.x % Math::kLanesAcross == 0) sums[P::col(0) / Warps<P::kEdge>::kCols * P::kEdge + row] = sum;
  }
  __syncthreads();
  for (int e = threadIdx.x; e < P::kEdge && first.p + e < s.positions; e += P::kThreads) {
    const int64_t n = (first.p + e) / s.T, t = (first.p + e) % s.T, piece = blockIdx.x % s.pieces;
    partial[((first.k * (s.positions / s.T) + n) * s.pieces + piece) * s.T + t] = sums[e] + sums[P::kEdge + e];
  }
}

// Samples that a block forms, one after another: v's tile is read from the cache for all but the first.
int64_t group_of(int64_t N, int64_t tiles) { return std::clamp<int64_t>(N * tiles / kGroupedBlocks, 1, kMostSamples); }

constexpr int kDirections = 16;  // whose sums meet at a time

// Block (group, tile) forms its tile of G[n] [O, I] for each sample of its group, and sums its products with v[k].
template <typename P, typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    materialize_kernel(PairShape s, int64_t K, int64_t group, const __grid_constant__ Tiling tiles,
                       const __grid_constant__ View<stored_t> a, const __grid_constant__ View<stored_t> b,
                       const scalar_t* v, double* partial) {
  constexpr int kWarps = P::kThreads / kWarp;
  auto* const cells = reinterpret_cast<double*>(dynamic_shared<char>() + P::kSharedBytes);  // [kDirections, kWarps]
  const unsigned count = tiles.count(), index = blockIdx.x % count;
  const int64_t first = blockIdx.x / count * group;
  const int64_t o0 = tiles[index].row * P::kEdge, i0 = tiles[index].col * P::kEdge;
  for (int64_t n = first; n < min(s.N, first + group); ++n) {
    typename P::Accumulator g = {};
    P::add({b, o0, s.O}, {a, i0, s.I}, n * s.T, (n + 1) * s.T, g);
    for (int64_t k0 = 0; k0 < K; k0 += kDirections) {
      const int some = static_cast<int>(min(K - k0, static_cast<int64_t>(kDirections)));
      for (int k = 0; k < some; ++k) {
        const scalar_t* const v_k = v + (k0 + k) * s.O * s.I;
        scalar_t sum = 0;
#pragma unroll
        for (int e = 0; e < P::kCount; ++e) {
          const int64_t o = o0 + P::row(e), i = i0 + P::col(e);
          if (o < s.O && i < s.I) sum += g.value[e] * v_k[o * s.I + i];
        }
        const double total = warp_sum(static_cast<double>(sum));
        if (threadIdx.x % kWarp == 0) cells[k * kWarps + threadIdx.x / kWarp] = total;
      }
      __syncthreads();
      for (int k = threadIdx.x; k < some; k += P::kThreads) {
        double total = 0;
        for (int w = 0; w < kWarps; ++w) total += cells[k * kWarps + w];
        partial[((k0 + k) * s.N + n) * tiles.count() + index] = total;
      }
      __syncthreads();
    }
  }
}

constexpr int kSumThreads = 256;

// Warp (n, k) adds the `count` partial sums of out[n, k], each lane every 32nd of them.
template <typename scalar_t>
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(int64_t N, int64_t K, int64_t count, const double* partial, scalar_t* out) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) / kWarp, n = at / K, k = at % K;
  if (n >= N) return;
  double total = 0;
  for (int64_t c = threadIdx.x % kWarp; c < count; c += kWarp) total += partial[(k * N + n) * count + c];
  total = warp_sum(total);
  if (threadIdx.x % kWarp == 0) out[at] = static_cast<scalar_t>(total);
}

template <typename scalar_t>
const char* sum(int64_t N, int64_t K, int64_t count, const double* partial, scalar_t* out, void* stream) {
  return launch(&sum_kernel<scalar_t>, ceil_div(N * K, kSumThreads / kWarp), kSumThreads, 0, stream, N, K, count,
                partial, out);
}

// Block (n, k) sums b[n, t] * v[k, :, ids[n, t]] over all t, a warp for every position in turn.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kSumThreads)
    one_hot_kernel(PairShape s, int64_t K, const Ids ids, const OutRows<stored_t> b, const scalar_t* v, scalar_t* out) {
  const unsigned directions = K;
  const int64_t n = blockIdx.x / directions;
  v += blockIdx.x % directions * s.O * s.I;
  double total = 0;
  for (int64_t t = threadIdx.x / kWarp; t < s.T; t += kSumThreads / kWarp) {
    const int64_t id = ids.data[n * ids.n_stride + t * ids.t_stride];
    scalar_t sum = 0;
#pragma unroll 1
    for (int64_t o = threadIdx.x % kWarp; o < s.O; o += kWarp) {
      const scalar_t* const row = v + o * s.I;
      sum += b.number(n, t, o) * (ids.bias ? row[id] + row[s.I - 1] : row[id]);
    }
    total += sum;
  }
  total = block_sum<kSumThreads>(total, dynamic_shared<double>());
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<scalar_t>(total);
}

bool takes_a(const PairShape& s, int64_t bytes) {
  const auto cost = [&](int64_t C, int64_t D) {
    return tiling(s.N * s.T, D, cheaper_edge(s.N * s.T, D, most_edge(bytes))).work() * C;
  };
  return cost(s.I, s.O) <= cost(s.O, s.I);
}

Apply plan(const PairShape& s, int64_t K, int64_t bytes) {
  const bool by_a = takes_a(s, bytes);
  const int64_t C = by_a ? s.I : s.O, D = by_a ? s.O : s.I;
  return {s.N, s.T, K, C, D, cheaper_edge(s.N * s.T, D, most_edge(bytes))};
}

constexpr int kLarge = 64;  // edge of what is formed: larger tiles would meet too few samples in a block

Tiling tiles_of(const PairShape& s) { return tiling(s.O, s.I, cheaper_edge(s.O, s.I, kLarge)); }

// What applying holds: rows that are widened.
template <typename scalar_t>
struct Applied {
  double* partial;
  scalar_t *a, *b;

  Applied(const PairShape& s, int64_t K, bool widens, Scratch& scratch)
      : partial(scratch.take<double>(s.N * s.T * K * plan(s, K, sizeof(scalar_t)).pieces)),
        a(scratch.take<scalar_t>(widens ? staged_numbers(s.N * s.T, s.I) : 0)),
        b(scratch.take<scalar_t>(widens ? staged_numbers(s.N * s.T, s.O) : 0)) {}
};

struct Formed {
  double* partial;

  Formed(const PairShape& s, int64_t K, Scratch& scratch)
      : partial(scratch.take<double>(s.N * K * tiles_of(s).count())) {}
};

template <typename scalar_t>
auto need_of(JvpMethod method, const PairShape& s, int64_t K, bool widens) {
  return [=](int64_t N) {
    const PairShape some = {N, s.T, s.I, s.O};
    return method == JvpMethod::apply ? bytes_of<Applied<scalar_t>>(some, K, widens) : bytes_of<Formed>(some, K);
  };
}

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

template <typename scalar_t>
const char* apply(const PairShape& s, const Rows<scalar_t>& a_side, const Rows<scalar_t>& b_side, const scalar_t* v,
                  int64_t K, Scratch scratch, scalar_t* out, void* stream) {
  Rows<scalar_t> a = stacked(a_side, 0, s.N), b = stacked(b_side, 0, s.N);
  const bool widens = a.storage != Storage::same;
  const Applied<scalar_t> held(s, K, widens, scratch);
  if (widens) {
    const scalar_t* const unweighted = nullptr;
    const char* error = stage<Change::none>(a_side, s.N, unweighted, held.a, a, stream);
    if (!error) error = stage<Change::none>(b_side, s.N, unweighted, held.b, b, stream);
    if (error) return error;
  }
  const bool by_a = takes_a(s, sizeof(scalar_t));
  const Apply here = plan(s, K, sizeof(scalar_t));
  Rows<scalar_t> directions = {v, Storage::same, 0, {}, {}};
  directions.t.append(K, s.O * s.I);
  directions.t.append(here.D, by_a ? s.I : 1);
  directions.i.append(here.C, by_a ? 1 : s.I);
  const auto taking = rows::view<scalar_t>(by_a ? a : b, 1), other = rows::view<scalar_t>(by_a ? b : a, 1);
  const auto v_view = rows::view<scalar_t>(directions, 1);
  const char* error = with_edge<scalar_t, Along::features>(here.positions, here.D, [&](auto p) {
    using P = decltype(p);
    static_assert(P::kSharedBytes >= 4 * P::kEdge * sizeof(double), "room for what follows the product");
    return launch(&apply_kernel<P, scalar_t>, here.strips * K * here.pieces, P::kThreads, P::kSharedBytes, stream, here,
                  taking, other, v_view, held.partial);
  });
  return error ? error : sum(s.N, K, here.pieces * s.T, held.partial, out, stream);
}

template <typename scalar_t>
const char* materialize(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v,
                        int64_t K, Scratch scratch, scalar_t* out, void* stream) {
  const Tiling tiles = tiles_of(s);
  const int64_t group = group_of(s.N, tiles.count());
  const Formed held(s, K, scratch);
  const char* error = with_views(
      [&](const auto& a_view, const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(a_view)>::stored_t;
        return with_edge<stored_t, Along::positions, kLarge>(s.O, s.I, [&](auto p) {
          using P = decltype(p);
          constexpr int shared = P::kSharedBytes + kDirections * P::kThreads / kWarp * sizeof(double);
          return launch(&materialize_kernel<P, stored_t, scalar_t>, tiles.count() * ceil_div(s.N, group), P::kThreads,
                        shared, stream, s, K, group, tiles, a_view, b_view, v, held.partial);
        });
      },
      Stack{a, s.N}, Stack{b, s.N});
  return error ? error : sum(s.N, K, tiles.count(), held.partial, out, stream);
}

}  // namespace

int64_t jvp_scratch(JvpMethod method, const PairShape& s, int64_t K, int64_t bytes, bool widens) {
  if (empty(s) || K == 0) return 0;
  return bytes == sizeof(double) ? need_of_batches(s.N, need_of<double>(method, s, K, widens))
                                 : need_of_batches(s.N, need_of<float>(method, s, K, widens));
}

template <typename scalar_t>
const char* jvp(JvpMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                const scalar_t* v, int64_t K, void* scratch, scalar_t* out, void* stream) {
  if (empty(s) || K == 0) return zero(s.N * K, out, stream);
  const auto run = method == JvpMethod::apply ? &apply<scalar_t> : &materialize<scalar_t>;
  const auto need = need_of<scalar_t>(method, s, K, a.storage != Storage::same);
  return in_batches(s.N, need, [&](int64_t n, int64_t N) {
    return run({N, s.T, s.I, s.O}, from(a, n), from(b, n), v, K, Scratch(scratch), out + n * K, stream);
  });
}

template <typename scalar_t>
const char* jvp(JvpMethod, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, const scalar_t* v, int64_t K,
                void*, scalar_t* out, void* stream) {
  if (empty(s) || K == 0) return zero(s.N * K, out, stream);
  return with_views(
      [&](const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(b_view)>::stored_t;
        return launch(&one_hot_kernel<stored_t, scalar_t>, s.N * K, kSumThreads, kSumThreads / kWarp * sizeof(double),
                      stream, s, K, a, out_rows<stored_t>(b), v, out);
      },
      Stack{b, s.N});
}

template const char* jvp(JvpMethod, const PairShape&, const Rows<float>&, const Rows<float>&, const float*, int64_t,
                         void*, float*, void*);
template const char* jvp(JvpMethod, const PairShape&, const Rows<double>&, const Rows<double>&, const double*, int64_t,
                         void*, double*, void*);
template const char* jvp(JvpMethod, const PairShape&, const Ids&, const Rows<float>&, const float*, int64_t, void*,
                         float*, void*);
template const char* jvp(JvpMethod, const PairShape&, const Ids&, const Rows<double>&, const double*, int64_t, void*,
                         double*, void*);

}  // namespace infotorch::cuda
