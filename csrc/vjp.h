// vjp: out[k] = sum_n w[k, n] G[n], weighted sums of per-sample gradients. Plain C++; no torch.
#pragma once

#include <algorithm>

#include "pair.h"

namespace infotorch {

// Orders of the same sum.
//   scale        sum_{n,t} (w[k, n] b[n, t]) (x) a[n, t], one product for each k
//   materialize  forms G[n] tile by tile, and one product with w for all k
//   fold         forms G[n] tile by tile for each k, and adds w[k, n] G[n] where it was formed; on CUDA alone
enum class VjpMethod { scale, materialize, fold };

// Multiply-adds for one sample and K weights.
inline int64_t vjp_cost(VjpMethod method, const PairShape& s, int64_t K) {
  return (method == VjpMethod::scale ? K * s.T : s.T + K + 1) * s.I * s.O;
}

namespace cpu {

// What packing a number costs in multiply-adds, and how much dearer these are in tiles of wide layers, each of which
// packs its own panels; as benchmarks/ops/vjp.py measured.
constexpr int64_t kPackWeight = 6, kWide = 256;
constexpr double kWideWeight = 1.13;

// The same where BLAS multiplies: what packing and scaling a number costs, and adding a formed one to a weighted sum;
// and products of bfloat16, of which scaled numbers have none.
constexpr double kBlasPackWeight = 8, kBlasAddWeight = 40, kShortProduct = 0.25;

// `by_blas`: BLAS forms the gradients, of numbers in 16 bits if they are `narrow`.
inline VjpMethod choose_vjp_method(const PairShape& s, int64_t K, bool by_blas, bool narrow) {
  if (by_blas) {
    const double area = s.I * s.O, scale = K * s.T * (area + kBlasPackWeight * (s.I + s.O));
    const double materialize = (s.T * (narrow ? kShortProduct : 1) + kBlasAddWeight * K) * area;
    return scale <= materialize ? VjpMethod::scale : VjpMethod::materialize;
  }
  const double scale = vjp_cost(VjpMethod::scale, s, K) + double(kPackWeight) * K * s.T * (s.I + s.O);
  const double forming = std::min(s.I, s.O) < kWide ? 1 : kWideWeight;
  const double materialize = vjp_cost(VjpMethod::materialize, s, K) + (forming - 1) * s.T * s.I * s.O;
  return scale <= materialize ? VjpMethod::scale : VjpMethod::materialize;
}

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie, w [K, N] contiguous -> out [K, O, I].
template <typename scalar_t>
void vjp(const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K,
         scalar_t* out);
template <typename scalar_t>
void vjp(const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K, scalar_t* out);

}  // namespace cpu

namespace cuda {

// What a number of G[n] costs beside a fused multiply-add of float32: a multiply-add of 16-bit numbers on the tensor
// cores; writing and reading a formed one; its product with 32 weights or fewer. From the rates that NVIDIA states for
// an H100, not measured.
constexpr double kVjpTensorCore = 0.1, kVjpStore = 40, kVjpCombine = 85;

// A function of the shape and of how numbers are stored. Forming takes depths of 64 bytes; numbers of 16 bits are
// scaled as float32.
inline VjpMethod choose_vjp_method(const PairShape& s, int64_t K, bool widens) {
  const int64_t step = widens ? 32 : 16;
  const double form = (s.T + step - 1) / step * step * (widens ? kVjpTensorCore : 1);
  const double scale = double(K) * s.T, fold = K * (form + 1);
  const double materialize = form + kVjpStore + (K + 31) / 32 * kVjpCombine;
  if (scale <= fold) return scale <= materialize ? VjpMethod::scale : VjpMethod::materialize;
  return fold <= materialize ? VjpMethod::fold : VjpMethod::materialize;
}

// How many bytes `scratch` must have, 16-byte aligned; for results of so many bytes. `widens`: a and b have 16 bits.
int64_t vjp_scratch(VjpMethod method, const PairShape& shape, int64_t K, int64_t bytes, bool widens);

// As on the CPU, with device pointers, on `stream`. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* vjp(VjpMethod method, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                const scalar_t* w, int64_t K, void* scratch, scalar_t* out, void* stream);
template <typename scalar_t>
const char* vjp(VjpMethod method, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w,
                int64_t K, void* scratch, scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
