// Products in one of two edges, where a kernel for each would take too long to compile.
#pragma once

#include "product.h"

namespace infotorch::cuda {

// Of the largest edge and the smallest, that whose tiles of a matrix are less work.
inline int cheaper_edge(int64_t rows, int64_t cols, int64_t bytes) {
  const int large = most_edge(bytes);
  return tiling(rows, cols, 32).work() < tiling(rows, cols, large).work() ? 32 : large;
}

// Calls body(Product) with that edge.
template <typename stored_t, Along kAlong, typename Body>
const char* with_edge(int64_t rows, int64_t cols, const Body& body) {
  if (cheaper_edge(rows, cols, sizeof(stored_t)) == 32) return body(Product<stored_t, false, 32, kAlong>());
  return body(Product<stored_t, false, most_edge(sizeof(stored_t)), kAlong>());
}

}  // namespace infotorch::cuda
