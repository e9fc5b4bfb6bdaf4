// Products of rows with rows, as they lie: every number of the result is a sum along two rows, lane by lane, so that
// nothing is packed. tile.h is for panels whose columns are multiplied.
#pragma once

#include "product.h"

namespace infotorch::cpu {

// out[r, c] = or += sum_k x[r, k] y[c, k], r < rows, c < cols, for k below `count`, a multiple of kPad, summed in
// scalar_t. `triangle` states that x is y, and leaves what lies wholly below the diagonal as it was. `next` is asked
// for meanwhile.
template <typename scalar_t>
void row_products(const Panel<scalar_t>& x, int64_t rows, const Panel<scalar_t>& y, int64_t cols, int64_t count,
                  bool triangle, bool add, scalar_t* out, int64_t out_stride, Ahead next = {});

}  // namespace infotorch::cpu
