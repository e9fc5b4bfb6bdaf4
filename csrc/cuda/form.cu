#include "edges.h"
#include "fill.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cuda {
namespace {

// Block (n, tile) writes its tile of G[n] [O, I].
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    form_kernel(int64_t T, const __grid_constant__ Tiling tiles, const __grid_constant__ View<stored_t> a,
                const __grid_constant__ View<stored_t> b, typename P::scalar_t* out) {
  const unsigned count = tiles.count();
  typename P::Accumulator g = {};
  {
    const Tiling::Place tile = tiles[blockIdx.x % count];
    const int64_t begin = blockIdx.x / count * T;
    P::add({b, tile.row * P::kEdge, b.features}, {a, tile.col * P::kEdge, a.features}, begin, begin + T, g);
  }
  const unsigned block = anew(blockIdx.x);
  const Tiling::Place tile = tiles[block % count];
  out += block / count * b.features * a.features;
  P::for_each(g, [&](int row, int col, typename P::scalar_t x) {
    const int64_t o = tile.row * P::kEdge + row, i = tile.col * P::kEdge + col;
    if (o < b.features && i < a.features) out[o * a.features + i] = x;
  });
}

constexpr int kThreads = 256, kRows = 16;  // of a thread

// How the threads of a block share G[n]: 2^log_cols columns, and kRows times the rows that this leaves threads for.
struct Share {
  int log_cols;
  int64_t down, across;  // blocks

  __host__ __device__ int cols() const { return 1 << log_cols; }
  __host__ __device__ int rows() const { return kThreads >> log_cols; }
};

Share share_of(const PairShape& s) {
  Share share = {5, 0, 0};
  while (share.cols() < s.I && share.cols() < kThreads) ++share.log_cols;
  share.down = ceil_div(s.O, share.rows() * kRows);
  share.across = ceil_div(s.I, share.cols());
  return share;
}

// Block (n, r, c) writes its part of G[n] = b[n] (x) a[n], in the order of memory.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kThreads) outer_kernel(Share share, const __grid_constant__ View<stored_t> a,
                                                         const __grid_constant__ View<stored_t> b, scalar_t* out) {
  const unsigned across = share.across, blocks = share.down * across, part = blockIdx.x % blocks;
  const int64_t n = blockIdx.x / blocks;
  const int64_t O = b.features, I = a.features;
  const int64_t i = static_cast<int64_t>(part % across) * share.cols() + threadIdx.x % share.cols();
  const int64_t first = static_cast<int64_t>(part / across) * share.rows() * kRows + threadIdx.x / share.cols();
  if (i >= I) return;
  const scalar_t x = number(a, n, i);
  const stored_t* const b_n = b.data + offset(b.p, n);
#pragma unroll 4
  for (int r = 0; r < kRows; ++r) {
    const int64_t o = first + r * share.rows();
    if (o < O) out[(n * O + o) * I + i] = widen(b_n[offset(b.i, o)]) * x;
  }
}

template <typename stored_t, typename scalar_t>
const char* form_views(const PairShape& s, const View<stored_t>& a, const View<stored_t>& b, scalar_t* out,
                       void* stream) {
  if (s.T == 1) {
    const Share share = share_of(s);
    return launch(&outer_kernel<stored_t, scalar_t>, s.N * share.down * share.across, kThreads, 0, stream, share, a, b,
                  out);
  }
  return with_edge<stored_t, Along::positions>(s.O, s.I, [&](auto p) {
    using P = decltype(p);
    const Tiling tiles = tiling(s.O, s.I, P::kEdge);
    return launch(&form_kernel<P, stored_t>, s.N * tiles.count(), P::kThreads, P::kSharedBytes, stream, s.T, tiles, a,
                  b, out);
  });
}

// Warps own blocks of every G[n] [O, I], and write them.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kWalkThreads)
    one_hot_kernel(PairShape s, Columns<scalar_t> columns, const Ids ids, const OutRows<stored_t> b, scalar_t* out) {
  const Owned mine(columns);
  const int64_t n = mine.result;
  if (n >= s.N) return;
  scalar_t* const cells = lane_cells(dynamic_shared<scalar_t>());
  walk(columns, mine, {n, n + 1, s.T}, ids, b,
       [&](int64_t, int column, scalar_t x) { cells[column * (kWarp + 1)] += x; });
  write_columns(columns, mine, cells, out + n * s.O * s.I);
}

}  // namespace

template <typename scalar_t>
const char* form(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  const int64_t count = s.N * s.O * s.I;
  if (count == 0 || s.T == 0) return zero(count, out, stream);
  return with_views([&](const auto& a_view, const auto& b_view) { return form_views(s, a_view, b_view, out, stream); },
                    Stack{a, s.N}, Stack{b, s.N});
}

template <typename scalar_t>
const char* form(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  const Columns<scalar_t> columns(s.O, s.I);
  return with_views(
      [&](const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(b_view)>::stored_t;
        return launch(&one_hot_kernel<stored_t, scalar_t>, columns.blocks(s.N), kWalkThreads, columns.kSharedBytes,
                      stream, s, columns, a, out_rows<stored_t>(b), out);
      },
      Stack{b, s.N});
}

template const char* form(const PairShape&, const Rows<float>&, const Rows<float>&, float*, void*);
template const char* form(const PairShape&, const Rows<double>&, const Rows<double>&, double*, void*);
template const char* form(const PairShape&, const Ids&, const Rows<float>&, float*, void*);
template const char* form(const PairShape&, const Ids&, const Rows<double>&, double*, void*);

}  // namespace infotorch::cuda
