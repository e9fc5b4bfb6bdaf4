// grads: G[n] = sum_t b[n, t] (x) a[n, t], the per-sample gradients themselves. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// Multiply-adds for one sample.
inline int64_t grads_cost(const PairShape& s) { return (s.T + 1) * s.I * s.O; }

namespace cpu {

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> out [N, O, I].
template <typename scalar_t>
void grads(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out);
template <typename scalar_t>
void grads(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out);

}  // namespace cpu

namespace cuda {

// As on the CPU, with device pointers, on `stream`. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* grads(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out,
                  void* stream);
template <typename scalar_t>
const char* grads(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
