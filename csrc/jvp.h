// jvp: out[n, k] = <G[n], v[k]>, derivatives of each sample's loss along directions v. Plain C++; no torch.
#pragma once

#include "pair.h"

namespace infotorch {

// Two orders of the same sum.
//   apply        sum_t <b_t, v a_t>, one product for each direction, or sum_t <v^T b_t, a_t>: never forms G
//   materialize  sum_{o,i} G[n, o, i] v[o, i], forms G tile by tile for all directions
enum class JvpMethod { apply, materialize };

// What a number that is packed or dotted on the way costs in multiply-adds of a product: of tiles of our own, and of
// BLAS, which reads rows where they lie; as benchmarks/ops/jvp.py measured.
constexpr double kJvpPack = 28, kJvpBlasPack = 6;

// What one sample and K directions cost, in multiply-adds of a product. A number of G that is written and read costs as
// much as 16, and a multiply-add of its dot products as much as 2.
inline double jvp_cost(JvpMethod method, const PairShape& s, int64_t K, double pack) {
  const double area = double(s.I) * s.O;
  if (method == JvpMethod::apply) return double(K) * s.T * (area + pack * (s.I + s.O));
  return (s.T + 2. * K + 16) * area;
}

namespace cpu {

// Whether BLAS applies directions to rows of b.
template <typename scalar_t>
bool is_applied_by_blas(const PairShape& s, const Rows<scalar_t>& b);

inline JvpMethod choose_jvp_method(const PairShape& s, int64_t K, bool by_blas) {
  const double pack = by_blas ? kJvpBlasPack : kJvpPack;
  return jvp_cost(JvpMethod::apply, s, K, pack) <= jvp_cost(JvpMethod::materialize, s, K, pack)
             ? JvpMethod::apply
             : JvpMethod::materialize;
}

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie, v [K, O, I] contiguous -> out [N, K]. A one-hot a has one
// route, for which v may also lie `turned`, as [K, I, O].
template <typename scalar_t>
void jvp(JvpMethod method, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v,
         int64_t K, scalar_t* out);
template <typename scalar_t>
void jvp(JvpMethod method, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* v, int64_t K,
         scalar_t* out, bool turned = false);

// What is left to do where torch computes the products: out[r] = <z[r], position t0 + r of x>, z [rows, features]
// contiguous.
template <typename scalar_t>
void row_dots(const scalar_t* z, const Rows<scalar_t>& x, int64_t t0, int64_t rows, double* out);

}  // namespace cpu

namespace cuda {

// A multiply-add of 16-bit numbers on the tensor cores, and visiting a number of a formed G for one direction, beside a
// fused multiply-add of float32: from the rates that NVIDIA states for an H100, not measured.
constexpr double kJvpTensorCore = 0.1, kJvpVisit = 4;

// A function of the shape and of how numbers are stored. Forming takes depths of 64 bytes; numbers of 16 bits, whose
// directions have 32, are applied to as float32.
inline JvpMethod choose_jvp_method(const PairShape& s, int64_t K, bool widens) {
  const int64_t step = widens ? 32 : 16;
  const double form = (s.T + step - 1) / step * step * (widens ? kJvpTensorCore : 1);
  return double(K) * s.T <= form + kJvpVisit * K ? JvpMethod::apply : JvpMethod::materialize;
}

// How many bytes `scratch` must have, 8-byte aligned; for results of so many bytes. `widens`: a and b have 16 bits.
int64_t jvp_scratch(JvpMethod method, const PairShape& shape, int64_t K, int64_t bytes, bool widens);

// As on the CPU, with device pointers, on `stream`. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* jvp(JvpMethod method, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                const scalar_t* v, int64_t K, void* scratch, scalar_t* out, void* stream);
template <typename scalar_t>
const char* jvp(JvpMethod method, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, const scalar_t* v,
                int64_t K, void* scratch, scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
