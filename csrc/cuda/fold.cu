#include "fold.h"
#include "one_hot.h"
#include "splits.h"

namespace infotorch::cuda {
namespace {

constexpr int64_t kLeast = 256;  // positions that outweigh another partial result

constexpr int kLarge = 64;  // edge: a block has two tiles of sums

SplitSum split_of(const PairShape& s, int64_t first) {
  const Tiling tiles = tiling(s.O, s.I, cheaper_edge(s.O, s.I, kLarge));
  return {{s.O, s.I}, tiles, first, s.N, 1, ceil_div(kLeast, s.T), first > 0};
}

// Block (split, tile) forms its tile of G[n] [O, I] for each sample of its share, and adds what becomes of it.
template <typename P, typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    fold_kernel(int64_t T, const __grid_constant__ SplitSum split, const __grid_constant__ View<stored_t> a,
                const __grid_constant__ View<stored_t> b, const scalar_t* w, scalar_t* partial, scalar_t* out) {
  const Tiling::Place tile = split.tile(blockIdx.x);
  typename P::Accumulator sum = {};
  for (int64_t n = split.begin(blockIdx.x); n < split.end(blockIdx.x); ++n) {
    typename P::Accumulator g = {};
    P::add({b, tile.row * P::kEdge, b.features}, {a, tile.col * P::kEdge, a.features}, n * T, (n + 1) * T, g);
    const scalar_t weight = w ? w[n] : scalar_t(0);
#pragma unroll
    for (int k = 0; k < P::kCount; ++k) sum.value[k] += (w ? weight : g.value[k]) * g.value[k];
  }
  hand_on<P>(split, sum, partial, out);
}

// Warps own blocks of out [O, I], and write them.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kWalkThreads)
    one_hot_kernel(PairShape s, Columns<scalar_t> columns, const Ids ids, const OutRows<stored_t> b, const scalar_t* w,
                   scalar_t* out) {
  const Owned mine(columns);
  if (mine.result > 0) return;
  scalar_t* const total = lane_cells(dynamic_shared<scalar_t>());
  scalar_t* const sums = lane_cells(dynamic_shared<scalar_t>() + columns.kSharedBytes / sizeof(scalar_t));
  static_assert(Columns<scalar_t>::kCount <= 64, "a bit for each");
  uint64_t met = 0;  // columns of sums that have terms, all of sample n
  int64_t n = 0;
  const auto end_sample = [&] {
    for (; met; met &= met - 1) {
      scalar_t& sum = sums[(__ffsll(met) - 1) * (kWarp + 1)];
      total[(__ffsll(met) - 1) * (kWarp + 1)] += (w ? w[n] : sum) * sum;
      sum = 0;
    }
  };
  walk(columns, mine, {0, s.N, s.T}, ids, b, [&](int64_t now, int column, scalar_t x) {
    if (now != n) end_sample();
    n = now;
    sums[column * (kWarp + 1)] += x;
    met |= uint64_t{1} << column;
  });
  end_sample();
  write_columns(columns, mine, total, out);
}

}  // namespace

int64_t fold_partials(const PairShape& s) { return split_of(s, 0).partials(); }

template <typename scalar_t>
const char* fold(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w,
                 scalar_t* partial, scalar_t* out, void* stream) {
  return with_views(
      [&](const auto& a_view, const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(a_view)>::stored_t;
        return with_edge<stored_t, Along::positions, kLarge>(s.O, s.I, [&](auto p) {
          using P = decltype(p);
          const char* error = nullptr;
          for (int64_t n = 0; n < s.N && !error;) {
            const SplitSum split = split_of(s, n);
            error = launch(&fold_kernel<P, stored_t, scalar_t>, split.blocks(), P::kThreads, P::kSharedBytes, stream,
                           s.T, split, a_view, b_view, w, partial, out);
            if (!error) error = add_splits(split, partial, out, stream);
            n += split.terms;
          }
          return error;
        });
      },
      Stack{a, s.N}, Stack{b, s.N});
}

template <typename scalar_t>
const char* fold(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, scalar_t* out,
                 void* stream) {
  const Columns<scalar_t> columns(s.O, s.I);
  return with_views(
      [&](const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(b_view)>::stored_t;
        return launch(&one_hot_kernel<stored_t, scalar_t>, columns.blocks(1), kWalkThreads, 2 * columns.kSharedBytes,
                      stream, s, columns, a, out_rows<stored_t>(b), w, out);
      },
      Stack{b, s.N});
}

template const char* fold(const PairShape&, const Rows<float>&, const Rows<float>&, const float*, float*, float*,
                          void*);
template const char* fold(const PairShape&, const Rows<double>&, const Rows<double>&, const double*, double*, double*,
                          void*);
template const char* fold(const PairShape&, const Ids&, const Rows<float>&, const float*, float*, void*);
template const char* fold(const PairShape&, const Ids&, const Rows<double>&, const double*, double*, void*);

}  // namespace infotorch::cuda
