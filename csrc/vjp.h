// vjp: out[k] = sum_n w[k, n] G[n], weighted sums of per-sample gradients. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// Two orders of the same sum.
//   scale        sum_{n,t} (w[k, n] b[n, t]) (x) a[n, t], one product for each k
//   materialize  forms G[n] tile by tile, and one product with w for all k
enum class VjpMethod { scale, materialize };

// Multiply-adds for one sample and K weights.
inline int64_t vjp_cost(VjpMethod method, const PairShape& s, int64_t K) {
  return (method == VjpMethod::scale ? K * s.T : s.T + K + 1) * s.I * s.O;
}

namespace cpu {

inline VjpMethod choose_vjp_method(const PairShape& s, int64_t K) {
  return vjp_cost(VjpMethod::scale, s, K) <= vjp_cost(VjpMethod::materialize, s, K) ? VjpMethod::scale
                                                                                    : VjpMethod::materialize;
}

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie, w [K, N] contiguous -> out [K, O, I].
template <typename scalar_t>
void vjp(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K,
         scalar_t* out);
template <typename scalar_t>
void vjp(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K, scalar_t* out);

// to[n, t] = w[n] b[n, t], contiguous: a factor of the plain product that torch computes.
template <typename scalar_t>
void scale_rows(const PairShape& shape, const Rows<scalar_t>& b, const scalar_t* w, scalar_t* to);

}  // namespace cpu
}  // namespace infotorch
