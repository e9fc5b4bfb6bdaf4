// fisher: sum_n vec G[n] vec G[n]^T, the empirical Fisher information, or its diagonal. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// What of it.
//   diagonal  [O, I], sum_n G[n, o, i]^2
//   full      [O I, O I], sum_n G[n, o, i] G[n, p, j], with rows and columns in the order o, then i
enum class FisherForm { diagonal, full };

namespace cpu {

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> out; the full form is symmetric to the bit.
template <typename scalar_t>
void fisher(FisherForm form, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out);
template <typename scalar_t>
void fisher(FisherForm form, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out);

}  // namespace cpu

namespace cuda {

// How many bytes `scratch` must have, 16-byte aligned; for results of so many bytes. `one_hot`: a holds indices.
int64_t fisher_scratch(FisherForm form, const PairShape& shape, int64_t bytes, bool one_hot);

// As on the CPU, with device pointers, on `stream`. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* fisher(FisherForm form, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                   void* scratch, scalar_t* out, void* stream);
template <typename scalar_t>
const char* fisher(FisherForm form, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, void* scratch,
                   scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
