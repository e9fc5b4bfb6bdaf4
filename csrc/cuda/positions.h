// Inner products of positions, of rows of numbers or of the one-hot rows of an embedding, whose products are equalities
// of indices.
//
//   LeftSide<stored_t>                                              the a of a pair, of either kind
//   inner_products<P>(x, {p_begin, p_end}, x2, {q_begin, q_end})    <x's row p, x2's row q> in a P::Accumulator; every
//                                                                   thread, together
//
// A position is n * T + t. A bias, one more feature that is 1, adds 1 to every product instead of a step of depth.
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
                                               const Span& cols, typename P::Accumulator& acc) {
  acc = {};
  P::add({x, rows.begin, rows.end}, {x2, cols.begin, cols.end}, 0, x.features - x.bias, acc);
}

template <typename P, typename stored_t>
__device__ __forceinline__ void inner_products(const LeftSide<stored_t>& x, const Span& rows,
                                               const LeftSide<stored_t>& x2, const Span& cols,
                                               typename P::Accumulator& acc) {
  acc = {};
  if (x.ids == nullptr) {
    inner_products<P>(x.rows, rows, x2.rows, cols, acc);
  } else {
#pragma unroll
    for (int k = 0; k < P::kCount; ++k) {
      const int64_t p = rows.begin + P::row(k), q = cols.begin + P::col(k);
      if (p < rows.end && q < cols.end) acc.value[k] = x.id(p) == x2.id(q);
    }
  }
  if (x.bias) {
#pragma unroll
    for (int k = 0; k < P::kCount; ++k) acc.value[k] += 1;
  }
}

}  // namespace infotorch::cuda
