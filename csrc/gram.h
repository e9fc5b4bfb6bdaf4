// gram: out[n, m] = <G[n], G2[m]>, inner products of per-sample gradients. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// Two orders of the same sum.
//   gram         sum_{t,s} <a_nt, a2_ms> <b_nt, b2_ms>    never forms G; cheap while T is small
//   materialize  sum_{o,i} G[n, o, i] G2[m, o, i]         forms G chunk by chunk
enum class GramMethod { gram, materialize };

// Multiply-adds. M, S are the second set's; a symmetric result needs one triangle and one set of gradients.
inline double gram_cost(GramMethod method, const PairShape& x, const PairShape& y, bool symmetric) {
  const double pairs = symmetric ? x.N * (x.N + 1.) / 2 : double(x.N) * y.N, area = double(x.I) * x.O;
  if (method == GramMethod::gram) return pairs * x.T * y.T * (x.I + x.O + 1.);
  return (double(x.N) * x.T + (symmetric ? 0. : double(y.N) * y.T) + pairs) * area;
}

namespace cpu {

// How much dearer a multiply-add of the materializing form is, as benchmarks/ops/gram.py measured.
constexpr double kGramMaterializeWeight = 1.8;

// A function of the shapes alone, so that equal shapes take equal routes.
inline GramMethod choose_gram_method(const PairShape& x, const PairShape& y, bool symmetric) {
  const double materialize = kGramMaterializeWeight * gram_cost(GramMethod::materialize, x, y, symmetric);
  return gram_cost(GramMethod::gram, x, y, symmetric) <= materialize ? GramMethod::gram : GramMethod::materialize;
}

// One set of samples; Side is Rows<scalar_t>, or Ids for a one-hot a.
template <typename scalar_t, typename Side>
struct Samples {
  PairShape shape;  // as N, T, I, O; the second set's N and T are called M and S
  Side a;
  Rows<scalar_t> b;
};

// out [N, M]. `symmetric` states that y is x: then out is symmetric to the bit. A one-hot a has one route.
template <typename scalar_t>
void gram(GramMethod method, const Samples<scalar_t, Rows<scalar_t>>& x, const Samples<scalar_t, Rows<scalar_t>>& y,
          bool symmetric, scalar_t* out);
template <typename scalar_t>
void gram(GramMethod method, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric,
          scalar_t* out);

// For few samples whose gradients are formed already: out [N, M] = or += the products of the rows of x [N, depth] and
// y [M, depth], above the diagonal if `symmetric`.
template <typename scalar_t>
void row_products(int64_t N, const scalar_t* x, int64_t M, const scalar_t* y, int64_t depth, bool symmetric, bool add,
                  scalar_t* out);

// out [N, N] below its diagonal becomes what is above.
template <typename scalar_t>
void mirror(int64_t N, scalar_t* out);

}  // namespace cpu
}  // namespace infotorch
