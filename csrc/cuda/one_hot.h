// Sums over the positions of one-hot inputs: a warp owns a block of a result [O, I], kWarp out-features by a few
// columns, and walks all positions for those whose index is one of its columns. So every number is the sum of its
// terms in the order of positions, whatever the indices are.
//
//   Columns<scalar_t>     the blocks of a result and who owns which
//   walk(...)             calls visit(n, column, x) where column's sum gets x, b's number at a position of sample n
//   write_columns(...)    the owned block, from cells in shared memory
//
// A lane owns one out-feature. Its cells, one for each column, are its alone until they are written.
#pragma once

#include "../pair.h"
#include "reduce.h"

namespace infotorch::cuda {

constexpr int kWalkThreads = 128;

// The b [N, T, O] of a pair.
template <typename stored_t>
struct OutRows {
  const stored_t* data;
  int64_t n_stride, t_stride, o_stride;

  __device__ __forceinline__ auto number(int64_t n, int64_t t, int64_t o) const {
    return widen(data[n * n_stride + t * t_stride + o * o_stride]);
  }
};

template <typename stored_t, typename scalar_t>
OutRows<stored_t> out_rows(const Rows<scalar_t>& b) {
  return {b.template as<stored_t>(), b.n_stride, b.t.step(), b.i.step()};
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
};

// What this warp owns. `result` may be beyond the last one.
struct Owned {
  int64_t result, o, first;  // this lane's out-feature, the first column

  template <typename scalar_t>
  __device__ __forceinline__ explicit Owned(const Columns<scalar_t>& columns) {
    const auto warp = blockIdx.x * (kWalkThreads / kWarp) + threadIdx.x / kWarp;
    const auto count = static_cast<unsigned>(columns.down * columns.across);
    const auto across = static_cast<unsigned>(columns.across);
    result = warp / count;
    o = static_cast<int64_t>(warp % count / across) * kWarp + threadIdx.x % kWarp;
    first = static_cast<int64_t>(warp % across) * Columns<scalar_t>::kCount;
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

// All positions of samples n0 ... n1, in order.
struct Span {
  int64_t n0, n1, T;
};

template <typename scalar_t, typename stored_t, typename Visit>
__device__ __forceinline__ void walk(const Columns<scalar_t>& columns, const Owned& mine, const Span& span,
                                     const Ids& ids, const OutRows<stored_t>& b, const Visit& visit) {
  constexpr int kAhead = 4;  // numbers of b that are asked for at once
  const int64_t bias = ids.bias ? columns.I - 1 - mine.first : -1;
  const bool all = 0 <= bias && bias < columns.kCount;  // every position adds to the bias's column
  const int64_t positions = (span.n1 - span.n0) * span.T;
  // The sample and position of this lane, kWarp positions further on with every step.
  const unsigned lane = threadIdx.x % kWarp,
                 near = static_cast<unsigned>(max(int64_t{1}, min(span.T, int64_t{2 * kWarp})));
  int64_t n = span.n0 + lane / near, t = lane % near;
  for (int64_t done = 0; done < positions; done += kWarp) {
    const int64_t away = n < span.n1 ? ids.data[n * ids.n_stride + t * ids.t_stride] - mine.first : -1;
    const bool hit = 0 <= away && away < columns.kCount;
    const int column = hit ? static_cast<int>(away) : -1;
    unsigned left = __ballot_sync(~0u, all ? n < span.n1 : hit);
    while (left) {
      int from[kAhead];
      int64_t at[kAhead];  // samples
      scalar_t x[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        from[j] = __ffs(left) - 1;
        left &= left - 1;
        if (from[j] < 0) continue;
        at[j] = __shfl_sync(~0u, n, from[j]);
        const int64_t position = __shfl_sync(~0u, t, from[j]);
        x[j] = mine.o < columns.O ? b.number(at[j], position, mine.o) : scalar_t(0);
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (from[j] < 0) continue;
        const int its = __shfl_sync(~0u, column, from[j]);
        if (its >= 0) visit(at[j], its, x[j]);
        if (all) visit(at[j], static_cast<int>(bias), x[j]);
      }
    }
    n += kWarp / near, t += kWarp % near;
    if (t >= span.T) ++n, t -= span.T;
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
