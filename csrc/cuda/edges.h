// Products in one of two edges, where a kernel for each would take too long to compile.
#pragma once

#include "product.h"

namespace infotorch::cuda {

// 32 or `large`, whichever cuts a matrix into tiles that are less work.
inline int cheaper_edge(int64_t rows, int64_t cols, int large) {
  return tiling(rows, cols, 32).work() < tiling(rows, cols, large).work() ? 32 : large;
}

// Calls body(Product) with that edge.
template <typename stored_t, Along kAlong, int kLarge = most_edge(sizeof(stored_t)), typename Body>
const char* with_edge(int64_t rows, int64_t cols, const Body& body) {
  if (cheaper_edge(rows, cols, kLarge) == 32) return body(Product<stored_t, false, 32, kAlong>());
  return body(Product<stored_t, false, kLarge, kAlong>());
}

}  // namespace infotorch::cuda
