// kron: the factors A [I, I] and B [O, O] of a Kronecker approximation of sum_n vec G[n] vec G[n]^T. Plain C++; no
// torch.
#pragma once

#include "pair.h"

namespace infotorch {

// How positions are treated.
//   expand  as samples of their own:  A = sum_{n,t} a[n, t] (x) a[n, t]
//   reduce  summed in each sample:    A = sum_n (sum_t a[n, t]) (x) (sum_t a[n, t])
// and B of b likewise.
enum class KronSplit { expand, reduce };

namespace cpu {

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> A [I, I] and B [O, O], symmetric to the bit.
template <typename scalar_t>
void kron(KronSplit split, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* A,
          scalar_t* B);
template <typename scalar_t>
void kron(KronSplit split, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* A, scalar_t* B);

}  // namespace cpu

namespace cuda {

// How many bytes `scratch` must have, 16-byte aligned; for results of so many bytes.
int64_t kron_scratch(KronSplit split, const PairShape& shape, int64_t bytes);

// As on the CPU, with device pointers, on `stream`. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* kron(KronSplit split, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                 void* scratch, scalar_t* A, scalar_t* B, void* stream);
template <typename scalar_t>
const char* kron(KronSplit split, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, void* scratch,
                 scalar_t* A, scalar_t* B, void* stream);

}  // namespace cuda
}  // namespace infotorch
