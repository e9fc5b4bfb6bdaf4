// fisher: sum_n vec G[n] vec G[n]^T, the empirical Fisher information, or its diagonal. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// What of it.
//   diagonal  [O, I], sum_n G[n, o, i]^2
//   full      [O I, O I], sum_n G[n, o, i] G[n, p, j], with rows and columns in the order o, then i
enum class FisherForm { diagonal, full };

namespace cpu {

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> out; the full form is symmetric to the bit.
template <typename scalar_t>
void fisher(FisherForm form, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out);
template <typename scalar_t>
void fisher(FisherForm form, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out);

// What is left to do where torch computes the products.
//   square_rows  to[n] = x[n]^2, contiguous, of N samples with one position
//   add_squares  sum[k] = or += sum_n g[n, k]^2, g [N, size] contiguous
template <typename scalar_t>
void square_rows(const Rows<scalar_t>& x, int64_t N, scalar_t* to);
template <typename scalar_t>
void add_squares(const scalar_t* g, int64_t N, int64_t size, bool add, scalar_t* sum);

}  // namespace cpu
}  // namespace infotorch
