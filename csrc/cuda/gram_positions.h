// gram from inner products of positions: out[n, m] = sum_{t, s} <a_nt, a2_ms> <b_nt, b2_ms>, G is never formed.
//
// Two ways, by how many blocks the shape fills:
//   whole   a block owns pairs of samples, and multiplies all of their depth; tiles hold whole samples, as many as fit,
//           or slices of one sample that are added
//   pieces  a few positions of great depth: blocks multiply pieces of depth, and a second kernel adds the pieces,
//           multiplies both sides, and sums over positions
#pragma once

#include "../gram.h"
#include "positions.h"
#include "reduce.h"

namespace infotorch::cuda {

constexpr int64_t kFullGrid = 256;     // blocks that keep a GPU busy: two for each of an H100's 132 processors
constexpr int64_t kPiece = 256;        // features of a piece, at least
constexpr int64_t kDeep = 2 * kPiece;  // features that are worth cutting

// Samples in tiles: `per` whole ones to a tile, or `slices` tiles to a sample.
struct Groups {
  int64_t N, T, per, slices, count;

  struct Group {
    int64_t first, samples;
  };
  INFOTORCH_HOST_DEVICE Group operator[](int64_t group) const {
    const int64_t left = N - group * per;
    return {group * per, per < left ? per : left};
  }
  // Positions of a slice.
  INFOTORCH_HOST_DEVICE Span positions(const Group& group, int64_t slice, int edge) const {
    return {group.first * T + slice * edge, (group.first + group.samples) * T};
  }
};

inline Groups groups_of(int64_t N, int64_t T, int edge) {
  const int64_t per = T < edge ? edge / T : 1;
  return {N, T, per, ceil_div(T, edge), ceil_div(N, per)};
}

struct PositionsPlan {
  Groups x, y;
  Tiling tiles;                       // whole: of pairs of groups; pieces: of positions
  int64_t splits;                     // whole: blocks that share a pair's slices, where there are several
  int64_t a_pieces, b_pieces, piece;  // of depth; none for the whole way

  int64_t blocks() const { return tiles.count() * (a_pieces ? a_pieces + b_pieces : splits); }
};

// Time grows with what the tiles hold, padding included, and again where blocks are too few to fill a GPU.
inline PositionsPlan positions_plan(const PairShape& x, const PairShape& y, bool symmetric, bool one_hot,
                                    int64_t bytes) {
  PositionsPlan best = {};
  double least = 0;
  for (const int edge : kEdges) {
    if (edge > most_edge(bytes)) continue;
    PositionsPlan plan = {groups_of(x.N, x.T, edge), groups_of(y.N, y.T, edge), {}, 1, 0, 0, 0};
    plan.tiles = {edge, plan.x.count, plan.y.count, symmetric};
    const int64_t slices = plan.x.slices * plan.y.slices, blocks = plan.tiles.count() * slices;
    plan.splits = std::min(slices, ceil_div(8 * kFullGrid, plan.tiles.count()));
    const double time = plan.tiles.work() * slices * std::max(1., static_cast<double>(kFullGrid) / blocks);
    if (best.tiles.edge == 0 || time < least) best = plan, least = time;
  }
  const int64_t a_depth = one_hot ? 1 : x.I, depth = a_depth + x.O;
  if (best.blocks() >= kFullGrid / 2 || depth < kDeep) return best;
  const int edge = 64;
  best.tiles = {edge, ceil_div(x.N * x.T, edge), ceil_div(y.N * y.T, edge), symmetric};
  best.piece = std::max(kPiece, ceil_div(depth * best.tiles.count(), kFullGrid * 64) * 64);
  best.a_pieces = ceil_div(a_depth, best.piece), best.b_pieces = ceil_div(x.O, best.piece);
  return best;
}

inline int64_t positions_scratch(const PositionsPlan& plan, int64_t bytes) {
  const int64_t results = plan.x.N * plan.y.N, positions = plan.x.N * plan.x.T * plan.y.N * plan.y.T;
  if (plan.a_pieces > 0) return (plan.a_pieces + plan.b_pieces) * positions * bytes;
  return plan.splits > 1 ? plan.splits * results * sizeof(double) : 0;
}

// Where a result goes: to its place, and to its mirror image if all are symmetric; or with the block's split of it.
template <typename scalar_t>
struct Results {
  int64_t N, M;
  bool symmetric;
  scalar_t* out;
  double* partial;  // [splits, N, M], or nullptr

  __device__ __forceinline__ void write(int64_t split, int64_t n, int64_t m, double value) const {
    if (symmetric && m < n) return;
    if (partial != nullptr) {
      partial[(split * N + n) * M + m] = value;
      return;
    }
    out[n * M + m] = static_cast<scalar_t>(value);
    if (symmetric) out[m * M + n] = static_cast<scalar_t>(value);
  }
};

// A tile [kEdge, kEdge] of products in shared memory, padded so that threads that own rows read from all banks.
template <typename P>
struct ProductTile {
  using scalar_t = typename P::scalar_t;
  static constexpr int kStride = P::kEdge + 1, kBytes = P::kEdge * kStride * sizeof(scalar_t);
  scalar_t* const cell = dynamic_shared<scalar_t>();

  __device__ __forceinline__ void put(const typename P::Accumulator& aa, const typename P::Accumulator& bb) const {
#pragma unroll
    for (int k = 0; k < P::kCount; ++k) cell[P::row(k) * kStride + P::col(k)] = aa.value[k] * bb.value[k];
    __syncthreads();
  }
  // Adds up runs of `S` columns, run m in column m. Every thread together.
  __device__ __forceinline__ void add_columns(int runs, int S) const {
    if (S == 1) return;
    if (threadIdx.x < P::kEdge) {
      scalar_t* const row = cell + threadIdx.x * kStride;
      for (int m = 0; m < runs; ++m) {
        scalar_t sum = 0;
        for (int s = 0; s < S; ++s) sum += row[m * S + s];
        row[m] = sum;  // no run to come begins before column m + 1
      }
    }
    __syncthreads();
  }
  __device__ __forceinline__ double add_rows(int n, int T, int m) const {
    double sum = 0;
    for (int t = 0; t < T; ++t) sum += cell[(n * T + t) * kStride + m];
    return sum;
  }
};

// Whose results a block sums, and which share of them.
struct GroupPair {
  Groups::Group n, m;
  int64_t split;

  __device__ __forceinline__ GroupPair(const Groups& x, const Groups& y, const Tiling& tiles, int64_t splits, int block)
      : split(block % splits) {
    const Tiling::Place pair = tiles[block / splits];
    n = x[pair.row], m = y[pair.col];
  }
};

// Block (pair of groups, split) sums every splits-th pair of their slices into the results of their samples.
template <typename P, int kBlocks, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, kBlocks)
    whole_kernel(Groups x, Groups y, Tiling tiles, int64_t splits, const __grid_constant__ LeftSide<stored_t> a,
                 const __grid_constant__ View<stored_t> b, const __grid_constant__ LeftSide<stored_t> a2,
                 const __grid_constant__ View<stored_t> b2, Results<typename P::scalar_t> results) {
  const int64_t slices = x.slices * y.slices;
  const bool single = x.per == 1 && y.per == 1;
  double total = 0;  // of this thread: a share of the pair's only result or, where groups have slices, one result
  for (int64_t slice = blockIdx.x % splits; slice < slices; slice += splits) {
    typename P::Accumulator aa, bb;
    {
      const GroupPair own(x, y, tiles, splits, blockIdx.x);
      const Span rows = x.positions(own.n, slice / y.slices, P::kEdge);
      const Span cols = y.positions(own.m, slice % y.slices, P::kEdge);
      inner_products<P>(a, rows, a2, cols, aa);
      inner_products<P>(b, rows, b2, cols, bb);
    }
    if (single) {
      typename P::scalar_t sum = 0;
#pragma unroll
      for (int k = 0; k < P::kCount; ++k) sum += aa.value[k] * bb.value[k];
      total += sum;
      continue;
    }
    const GroupPair own(x, y, tiles, splits, anew(blockIdx.x));
    const Span rows = x.positions(own.n, slice / y.slices, P::kEdge);
    const Span cols = y.positions(own.m, slice % y.slices, P::kEdge);
    const int T = static_cast<int>(x.slices > 1 ? min(rows.end - rows.begin, int64_t{P::kEdge}) : x.T);
    const int S = static_cast<int>(y.slices > 1 ? min(cols.end - cols.begin, int64_t{P::kEdge}) : y.T);
    const int across = static_cast<int>(own.m.samples), count = static_cast<int>(own.n.samples) * across;
    const ProductTile<P> tile;
    tile.put(aa, bb);
    tile.add_columns(across, S);
#pragma unroll 1
    for (int r = threadIdx.x; r < count; r += P::kThreads) {
      const double sum = tile.add_rows(r / across, T, r % across);
      if (slices > 1)
        total += sum;  // count <= kEdge then, so r is this thread's only one
      else
        results.write(own.split, own.n.first + r / across, own.m.first + r % across, sum);
    }
    __syncthreads();  // the next product takes the tile's place
  }
  const GroupPair own(x, y, tiles, splits, anew(blockIdx.x));
  if (single) {
    total = block_sum<P::kThreads>(total, dynamic_shared<double>());
    if (threadIdx.x == 0) results.write(own.split, own.n.first, own.m.first, total);
  } else if (slices > 1 && threadIdx.x < own.n.samples * own.m.samples) {
    results.write(own.split, own.n.first + threadIdx.x / own.m.samples, own.m.first + threadIdx.x % own.m.samples,
                  total);
  }
}

// Block (tile, piece) writes its tile of the products of positions [N T, M S], of one piece of a's depth or of b's.
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    pieces_kernel(Tiling tiles, int64_t pieces, int64_t a_pieces, int64_t piece, int64_t rows_end, int64_t cols_end,
                  const __grid_constant__ LeftSide<stored_t> a, const __grid_constant__ View<stored_t> b,
                  const __grid_constant__ LeftSide<stored_t> a2, const __grid_constant__ View<stored_t> b2,
                  typename P::scalar_t* to) {
  const Tiling::Place tile = tiles[blockIdx.x / pieces];
  const int64_t p = blockIdx.x % pieces, begin = (p < a_pieces ? p : p - a_pieces) * piece;
  const Span rows = {tile.row * P::kEdge, rows_end}, cols = {tile.col * P::kEdge, cols_end};
  typename P::Accumulator acc;
  if (p < a_pieces)
    inner_products<P>(a, rows, a2, cols, {begin, min(begin + piece, a.depth())}, acc);
  else
    inner_products<P>(b, rows, b2, cols, {begin, min(begin + piece, b.depth())}, acc);
  to += (p * rows_end + rows.begin) * cols_end + cols.begin;
  P::for_each(acc, [&](int row, int col, typename P::scalar_t value) {
    if (rows.begin + row < rows_end && cols.begin + col < cols_end) to[row * cols_end + col] = value;
  });
}

constexpr int kSumThreads = 256;

// Lanes r * lanes ... add the pieces of result r, multiply both sides, and sum over positions.
template <typename scalar_t>
__global__ void __launch_bounds__(kSumThreads)
    add_pieces_kernel(int64_t T, int64_t S, int64_t a_pieces, int64_t b_pieces, int lanes, const scalar_t* from,
                      Results<scalar_t> results) {
  const int64_t r = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) / lanes;
  const int64_t n = r / results.M, m = r % results.M, across = results.M * S, size = results.N * T * across;
  double total = 0;
  if (n < results.N && (m >= n || !results.symmetric)) {
    for (int64_t ts = threadIdx.x % lanes; ts < T * S; ts += lanes) {
      int64_t p = n * T + ts / S, q = m * S + ts % S;
      if (results.symmetric && p > q) p = m * S + ts % S, q = n * T + ts / S;  // tiles below the diagonal aren't there
      const scalar_t* at = from + p * across + q;
      scalar_t aa = 0, bb = 0;
      for (int64_t piece = 0; piece < a_pieces; ++piece, at += size) aa += *at;
      for (int64_t piece = 0; piece < b_pieces; ++piece, at += size) bb += *at;
      total += static_cast<double>(aa) * bb;
    }
  }
  if (lanes > 1) total = warp_sum(total);
  if (n < results.N && threadIdx.x % lanes == 0) results.write(0, n, m, total);
}

// out[n0 + n, m0 + m] = sum of partial[split, n, m], left to right; block [rows, cols] of all results.
template <typename partial_t, typename scalar_t>
__global__ void __launch_bounds__(kSumThreads)
    add_splits_kernel(int64_t splits, const partial_t* partial, int64_t n0, int64_t m0, int64_t rows, int64_t cols,
                      Results<scalar_t> results) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (r >= rows * cols || (results.symmetric && m0 + r % cols < n0 + r / cols)) return;
  double total = 0;
  for (int64_t split = 0; split < splits; ++split) total += partial[split * rows * cols + r];
  results.write(0, n0 + r / cols, m0 + r % cols, total);
}

template <typename partial_t, typename scalar_t>
const char* add_splits(int64_t splits, const partial_t* partial, int64_t n0, int64_t m0, int64_t rows, int64_t cols,
                       const Results<scalar_t>& results, void* stream) {
  return launch(&add_splits_kernel<partial_t, scalar_t>, ceil_div(rows * cols, kSumThreads), kSumThreads, 0, stream,
                splits, partial, n0, m0, rows, cols, results);
}

// Both sides of both sets.
template <typename stored_t>
struct Sides {
  LeftSide<stored_t> a;
  View<stored_t> b;
  LeftSide<stored_t> a2;
  View<stored_t> b2;
};

template <typename scalar_t, typename stored_t>
const char* gram_pieces(const PositionsPlan& plan, const Sides<stored_t>& sides, bool tf32, scalar_t* scratch,
                        const Results<scalar_t>& results, void* stream) {
  const Groups &x = plan.x, &y = plan.y;
  const char* error = with_product<stored_t, Along::features, 64, 64>(plan.tiles.edge, tf32, [&](auto product) {
    using P = decltype(product);
    return launch(&pieces_kernel<P, stored_t>, plan.blocks(), P::kThreads, P::kSharedBytes, stream, plan.tiles,
                  plan.a_pieces + plan.b_pieces, plan.a_pieces, plan.piece, x.N * x.T, y.N * y.T, sides.a, sides.b,
                  sides.a2, sides.b2, scratch);
  });
  if (error) return error;
  const int lanes = x.T * y.T >= kWarp ? kWarp : 1;
  return launch(&add_pieces_kernel<scalar_t>, ceil_div(x.N * y.N * lanes, kSumThreads), kSumThreads, 0, stream, x.T,
                y.T, plan.a_pieces, plan.b_pieces, lanes, static_cast<const scalar_t*>(scratch), results);
}

template <typename scalar_t, typename stored_t>
const char* gram_whole(const PositionsPlan& plan, const Sides<stored_t>& sides, bool tf32, double* partial,
                       const Results<scalar_t>& results, void* stream) {
  const Groups &x = plan.x, &y = plan.y;
  Results<scalar_t> to = results;
  to.partial = plan.splits > 1 ? partial : nullptr;
  const char* error = with_product<stored_t, Along::features>(plan.tiles.edge, tf32, [&](auto product) {
    using P = decltype(product);
    // Two tiles of sums a thread: the largest leave room for one block on an SM.
    constexpr int kBlocks = P::kEdge == most_edge(sizeof(scalar_t)) ? 1 : 2;
    const bool single = x.per == 1 && y.per == 1;
    const int shared_bytes = single ? P::kSharedBytes : std::max(P::kSharedBytes, ProductTile<P>::kBytes);
    return launch(&whole_kernel<P, kBlocks, stored_t>, plan.blocks(), P::kThreads, shared_bytes, stream, x, y,
                  plan.tiles, plan.splits, sides.a, sides.b, sides.a2, sides.b2, to);
  });
  if (error || plan.splits == 1) return error;
  return add_splits(plan.splits, static_cast<const double*>(partial), 0, 0, x.N, y.N, results, stream);
}

}  // namespace infotorch::cuda
