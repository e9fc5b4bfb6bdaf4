// Per-sample gradients written to memory: the whole of grads, and a step of ops that read them once more. Plain C++.
#pragma once

#include "../pair.h"

namespace infotorch::cuda {

// out [N, O, I] = G.
template <typename scalar_t>
const char* form(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out, void* stream);
template <typename scalar_t>
const char* form(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out, void* stream);

}  // namespace infotorch::cuda
