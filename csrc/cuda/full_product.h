// The tile product of sketches. They are compared across machines, so float32 is never rounded to tf32, and they take
// one of two edges, to keep what is compiled small: writing and scattering what is formed takes longer than a larger
// edge would save.
#pragma once

#include "product.h"

namespace infotorch::cuda {

inline int full_edge(int64_t size) { return size <= 32 ? 32 : 64; }

// Calls body(Product) with the one for a matrix whose smaller side is `size`.
template <typename stored_t, Along kAlong, typename Body>
const char* with_full_product(int64_t size, const Body& body) {
  return full_edge(size) == 32 ? body(Product<stored_t, false, 32, kAlong>())
                               : body(Product<stored_t, false, 64, kAlong>());
}

}  // namespace infotorch::cuda
