// Numbers added to buckets: the step that a GEMM can't take. Several samples go side by side, so that one step is one
// vector loaded, added to and stored, instead of a scattered number for each sample. A lane adds what it would add
// alone, in the same order, and no product is fused with its addition: how wide the lanes are is not in the bits.
#pragma once

#include "../philox.h"

namespace infotorch::cpu {

template <typename scalar_t>
constexpr int64_t kMostLanes = 64 / sizeof(scalar_t);
template <typename scalar_t>
constexpr int64_t kLeastLanes = 16 / sizeof(scalar_t);  // but for a single one

// to[bucket, lane] += sign * x[lane * stride + q] with bucket and sign from entries[q], q < count. `lanes` is a power
// of two from kLeastLanes to kMostLanes, or 1. What follows `count` numbers, up to a multiple of kMostLanes, may be
// read.
void add_numbers(int64_t lanes, const float* x, int64_t stride, const Entry* entries, int64_t count, float* to);
void add_numbers(int64_t lanes, const double* x, int64_t stride, const Entry* entries, int64_t count, double* to);

// The same with the numbers x[r, lane] y[c, lane], r < rows, c < cols <= kMostProducts, and entries [rows, cols].
constexpr int64_t kMostProducts = 8;
void add_products(int64_t lanes, const float* x, int64_t rows, const float* y, int64_t cols, const Entry* entries,
                  float* to);
void add_products(int64_t lanes, const double* x, int64_t rows, const double* y, int64_t cols, const Entry* entries,
                  double* to);

}  // namespace infotorch::cpu
