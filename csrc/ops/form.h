// Gradients formed by torch's product, some at a time, for what then reads them once more.
#pragma once

#include <algorithm>

#include "pair.h"

namespace infotorch {

constexpr int64_t kFormedBytes = int64_t{16} << 20;  // that are held at once

inline int64_t number_bytes(const Tensor& x) { return x.scalar_type() == ScalarType::Double ? 8 : 4; }

// Whether that beats forming tiles in cache, as benchmarks/ops measured: on wide layers with many positions, where
// torch's product reaches its peak, and writing a gradient is cheap beside forming it.
inline bool forms_by_product(const Tensor& a, const PairShape& s, const PairOptions& options) {
  const int64_t wide = std::max(s.I, s.O), narrow = std::min(s.I, s.O);
  return is_plain(a, s, options) && storage_of(a) == Storage::same && s.T >= 128 && wide >= 256 && narrow >= 16 &&
         s.T * wide >= 1 << 16;
}

}  // namespace infotorch
