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

// One set of samples; Side is Rows<scalar_t>, or Ids for a one-hot a.
template <typename scalar_t, typename Side>
struct Samples {
  PairShape shape;  // as N, T, I, O; the second set's N and T are called M and S
  Side a;
  Rows<scalar_t> b;
};

namespace cpu {

// How much dearer a multiply-add of the materializing form is, as benchmarks/ops/gram.py measured.
constexpr double kGramMaterializeWeight = 1.8;

// A function of the shapes alone, so that equal shapes take equal routes.
inline GramMethod choose_gram_method(const PairShape& x, const PairShape& y, bool symmetric) {
  const double materialize = kGramMaterializeWeight * gram_cost(GramMethod::materialize, x, y, symmetric);
  return gram_cost(GramMethod::gram, x, y, symmetric) <= materialize ? GramMethod::gram : GramMethod::materialize;
}

// out [N, M]. `symmetric` states that y is x: then out is symmetric to the bit. A one-hot a has one route.
template <typename scalar_t>
void gram(GramMethod method, const Samples<scalar_t, Rows<scalar_t>>& x, const Samples<scalar_t, Rows<scalar_t>>& y,
          bool symmetric, scalar_t* out);
template <typename scalar_t>
void gram(GramMethod method, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric,
          scalar_t* out);

}  // namespace cpu

namespace cuda {

// Multiply-adds in the time that one number of G takes to the second-level cache and back. Reasoned from the rates of
// an H100 (5 TB/s of that cache, 35 to 250 TFMA/s of products), not measured.
constexpr double kGramStoreWeight = 128;

// A function of the shapes alone. Both forms run the same products.
inline GramMethod choose_gram_method(const PairShape& x, const PairShape& y, bool symmetric) {
  const double stored = (x.N + (symmetric ? 0. : y.N)) * x.I * x.O;
  const double materialize = gram_cost(GramMethod::materialize, x, y, symmetric) + kGramStoreWeight * stored;
  return gram_cost(GramMethod::gram, x, y, symmetric) <= materialize ? GramMethod::gram : GramMethod::materialize;
}

// How many bytes `scratch` must hold, 16-byte aligned, for results of so many bytes each.
int64_t gram_scratch(GramMethod method, const PairShape& x, const PairShape& y, bool symmetric, bool one_hot,
                     int64_t bytes);

// As on the CPU, with device pointers, on `stream`; nothing is allocated or waited for. `tf32` allows products of
// float32 numbers that are rounded to tf32. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* gram(GramMethod method, const Samples<scalar_t, Rows<scalar_t>>& x,
                 const Samples<scalar_t, Rows<scalar_t>>& y, bool symmetric, bool tf32, void* scratch, scalar_t* out,
                 void* stream);
template <typename scalar_t>
const char* gram(GramMethod method, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric,
                 bool tf32, void* scratch, scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
