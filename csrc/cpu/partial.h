// Partial results of tasks that share out a sum.
#pragma once

#include <algorithm>

#include "../parallel.h"
#include "reduce.h"

namespace infotorch::cpu {

// out = the sum of partial [count, size], from left to right; out may be the first of them.
template <typename scalar_t>
void sum_partial(const scalar_t* partial, int64_t count, int64_t size, scalar_t* out) {
  parallel_for(size, 1 << 14, [&](int64_t begin, int64_t end) {
    if (out != partial) std::copy(partial + begin, partial + end, out + begin);
    for (int64_t p = 1; p < count; ++p) add_scaled(partial + p * size + begin, 1, end - begin, out + begin);
  });
}

}  // namespace infotorch::cpu
