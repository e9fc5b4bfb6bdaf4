// Sums over samples of per-sample gradients, weighted or squared, none of which is ever stored. Plain C++.
#pragma once

#include "../pair.h"

namespace infotorch::cuda {

// How many numbers `partial` must hold.
int64_t fold_partials(const PairShape& shape);

// out [O, I] = sum_n w[n] G[n], or the sum of the squares of G[n] if w is nullptr. There must be positions.
template <typename scalar_t>
const char* fold(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w,
                 scalar_t* partial, scalar_t* out, void* stream);
template <typename scalar_t>
const char* fold(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, scalar_t* out,
                 void* stream);

}  // namespace infotorch::cuda
