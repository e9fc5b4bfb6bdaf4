// How a tensor's numbers lie, seen from what is computed in: result_dtype(x).
#pragma once

#include "../pair.h"
#include "../torch_api.h"

namespace infotorch {

inline Storage storage_of(const Tensor& x) {
  return x.scalar_type() == ScalarType::BFloat16 ? Storage::bfloat16
         : x.scalar_type() == ScalarType::Half   ? Storage::float16
                                                 : Storage::same;
}

inline bool is_float(const Tensor& x) { return x.scalar_type() == result_dtype(x) || storage_of(x) != Storage::same; }

}  // namespace infotorch
