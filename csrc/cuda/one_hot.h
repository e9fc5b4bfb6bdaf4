// Sums over the positions of one-hot inputs: a warp owns a block of a result [O, I], kWarp out-features by a few
// columns, and walks all positions for those whose index is one of its columns. So every number is the sum of its
// terms in the order of positions, whatever the indices are.
//
//   Columns<scalar_t>     the blocks of a result and who owns which
//   walk(...)             calls visit(position, column, x) where column's sum gets x, b's number there
//   write_columns(...)    the owned block, from cells in shared memory
//
// A lane owns one out-feature. Its cells, one for each column, are its alone until they are written.
#pragma once

#include "reduce.h"
#include "rows.h"

namespace infotorch::cuda {

constexpr int kWalkThreads = 128;

// One-hot rows of all positions.
struct IdView {
  const int64_t* data;
  Axes p;
  bool bias;
};

inline IdView id_view(const Ids& x, const PairShape& s) {
  IdView view = {x.data, {}, x.bias};
  view.p.append(s.N, x.n_stride);
  view.p.append(s.T, x.t_stride);
  return view;
}

template <typename scalar_t>
struct Columns {
  static constexpr int kCount = 256 / sizeof(scalar_t);  // owned by a warp
  static constexpr int kCells = kCount * (kWarp + 1);    // of a warp; one more a column spreads rows over all banks
  static constexpr int kSharedBytes = kWalkThreads / kWarp * kCells * sizeof(scalar_t);

  int64_t O, I, down, across;

  Columns(int64_t O, int64_t I) : O(O), I(I), down((O + kWarp - 1) / kWarp), across((I + kCount - 1) / kCount) {}
  // For `results` of them, in order.
  int64_t blocks(int64_t results) const {
    return (results * down * across + kWalkThreads / kWarp - 1) / (kWalkThreads / kWarp);
  }
  __device__ __forceinline__ int64_t count() const { return down * across; }
};

// What this warp owns. `result` may be beyond the last one.
struct Owned {
  int64_t result, o, first;  // this lane's out-feature, the first column

  template <typename scalar_t>
  __device__ __forceinline__ explicit Owned(const Columns<scalar_t>& columns) {
    const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kWalkThreads + threadIdx.x) / kWarp;
    result = warp / columns.count();
    o = warp % columns.count() / columns.across * kWarp + threadIdx.x % kWarp;
    first = warp % columns.across * Columns<scalar_t>::kCount;
  }
};

// This lane's cell of column 0; that of column c is c * (kWarp + 1) away. They start as 0.
template <typename scalar_t>
__device__ __forceinline__ scalar_t* lane_cells(scalar_t* shared) {
  scalar_t* const cells = shared + threadIdx.x / kWarp * Columns<scalar_t>::kCells + threadIdx.x % kWarp;
#pragma unroll 4
  for (int c = 0; c < Columns<scalar_t>::kCount; ++c) cells[c * (kWarp + 1)] = 0;
  return cells;
}

template <typename scalar_t, typename stored_t, typename Visit>
__device__ __forceinline__ void walk(const Columns<scalar_t>& columns, const Owned& mine, const IdView& ids,
                                     const View<stored_t>& b, int64_t begin, int64_t end, const Visit& visit) {
  constexpr int kAhead = 4;  // numbers of b that are asked for at once
  const int lane = threadIdx.x % kWarp;
  const int64_t bias = ids.bias ? columns.I - 1 - mine.first : -1;
  const bool all = 0 <= bias && bias < columns.kCount;  // every position adds to the bias's column
  for (int64_t p0 = begin; p0 < end; p0 += kWarp) {
    const int64_t away = p0 + lane < end ? ids.data[offset(ids.p, p0 + lane)] - mine.first : -1;
    const bool hit = 0 <= away && away < columns.kCount;
    const int column = hit ? static_cast<int>(away) : -1;
    unsigned left = __ballot_sync(~0u, all ? p0 + lane < end : hit);
    while (left) {
      int from[kAhead];
      scalar_t x[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        from[j] = __ffs(left) - 1;
        left &= left - 1;
        x[j] = from[j] >= 0 && mine.o < columns.O ? number(b, p0 + from[j], mine.o) : scalar_t(0);
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (from[j] < 0) continue;
        const int at = __shfl_sync(~0u, column, from[j]);
        if (at >= 0) visit(p0 + from[j], at, x[j]);
        if (all) visit(p0 + from[j], static_cast<int>(bias), x[j]);
      }
    }
  }
}

// out [O, I] = the cells of its owner, for which all lanes of the warp come together.
template <typename scalar_t>
__device__ __forceinline__ void write_columns(const Columns<scalar_t>& columns, const Owned& mine,
                                              const scalar_t* cells, scalar_t* out) {
  const int lane = threadIdx.x % kWarp;
  __syncwarp();
  const scalar_t* const all = cells - lane;
  for (int row = 0; row < kWarp; ++row) {
    const int64_t o = mine.o - lane + row;
    for (int c = lane; c < columns.kCount && o < columns.O; c += kWarp)
      if (mine.first + c < columns.I) out[o * columns.I + mine.first + c] = all[c * (kWarp + 1) + row];
  }
}

}  // namespace infotorch::cuda
