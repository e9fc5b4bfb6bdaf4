// Sums of outer products over positions, out = sum_p y[p] (x) x[p]: a product of two tall matrices. Plain C++.
#pragma once

#include "../pair.h"

namespace infotorch::cuda {

// How many numbers of scalar_t `partial` must hold.
int64_t outer_sum_partials(int64_t positions, int64_t rows, int64_t cols, bool symmetric, int64_t bytes);

// out [Y, X] = or += the sum over all positions of N samples. y and x are stored alike. `symmetric` states that y is x:
// then one triangle is computed, and out is symmetric to the bit, provided that it was before. There must be terms.
template <typename scalar_t>
const char* outer_sum(int64_t N, const Rows<scalar_t>& y, const Rows<scalar_t>& x, bool symmetric, bool add,
                      scalar_t* partial, scalar_t* out, void* stream);

}  // namespace infotorch::cuda
