// Inner products of positions, of rows of numbers or of the one-hot rows of an embedding, whose products are equalities
// of indices.
//
//   LeftSide<stored_t>                                              the a of a pair, of either kind
//   inner_products<P>(x, {p_begin, p_end}, x2, {q_begin, q_end}, acc)
//                                                                   <x's row p, x2's row q>; every thread, together
//   inner_products<P>(x, rows, x2, cols, depth, acc)                the same of some of x.depth() features alone
//
// A position is n * T + t. A bias, one more feature that is 1, adds 1 to every product, with feature 0, instead of
// taking a step of depth.
#pragma once

#include "product.h"

namespace infotorch::cuda {

struct Span {
  int64_t begin, end;
};

// One kernel serves both kinds: which it is, all threads agree on.
template <typename stored_t>
struct LeftSide {
  View<stored_t> rows;
  const int64_t* ids;  // nullptr for rows
  Axes p;              // of the ids
  bool bias;

  INFOTORCH_HOST_DEVICE int64_t depth() const { return ids == nullptr ? rows.depth() : 1; }
  __device__ __forceinline__ int64_t id(int64_t position) const { return ids[offset(p, position)]; }
};

template <typename stored_t>
LeftSide<stored_t> left_side(const View<stored_t>& x) {
  return {x, nullptr, {}, x.bias};
}

template <typename stored_t>
LeftSide<stored_t> left_side(const Ids& x, const PairShape& s) {
  LeftSide<stored_t> side = {{}, x.data, {}, x.bias};
  side.p.append(s.N, x.n_stride);
  side.p.append(s.T, x.t_stride);
  return side;
}

template <typename P, typename stored_t>
__device__ __forceinline__ void inner_products(const View<stored_t>& x, const Span& rows, const View<stored_t>& x2,
                                               const Span& cols, const Span& depth, typename P::Accumulator& acc) {
  acc = {};
  P::add({x, rows.begin, rows.end}, {x2, cols.begin, cols.end}, depth.begin, depth.end, acc);
}

template <typename P, typename stored_t>
__device__ __forceinline__ void equal_ids(const LeftSide<stored_t>& x, const Span& rows, const LeftSide<stored_t>& x2,
                                          const Span& cols, typename P::Accumulator& acc) {
  auto* const id = dynamic_shared<int64_t>();
#pragma unroll 1
  for (int r = threadIdx.x; r < P::kEdge; r += P::kThreads) {
    id[r] = rows.begin + r < rows.end ? x.id(rows.begin + r) : -1;
    id[P::kEdge + r] = cols.begin + r < cols.end ? x2.id(cols.begin + r) : -2;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < P::kCount; ++k) acc.value[k] = id[P::row(k)] == id[P::kEdge + P::col(k)];
  __syncthreads();
}

template <typename P, typename stored_t>
__device__ __forceinline__ void inner_products(const LeftSide<stored_t>& x, const Span& rows,
                                               const LeftSide<stored_t>& x2, const Span& cols, const Span& depth,
                                               typename P::Accumulator& acc) {
  if (x.ids == nullptr)
    inner_products<P>(x.rows, rows, x2.rows, cols, depth, acc);
  else
    equal_ids<P>(x, rows, x2, cols, acc);
  if (x.bias && depth.begin == 0) {
#pragma unroll
    for (int k = 0; k < P::kCount; ++k) acc.value[k] += 1;
  }
}

template <typename P, typename Side>
__device__ __forceinline__ void inner_products(const Side& x, const Span& rows, const Side& x2, const Span& cols,
                                               typename P::Accumulator& acc) {
  inner_products<P>(x, rows, x2, cols, {0, x.depth()}, acc);
}

}  // namespace infotorch::cuda
