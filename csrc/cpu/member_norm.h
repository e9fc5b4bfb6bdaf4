// Batch norm of many networks, each by statistics of its own, with the ReLU behind it.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// x [rows, size], a row being one channel of one member. y = (x - mean) / sqrt(var + eps) * weight + bias, and with
// `relu` its positive part; the other arrays are [rows].
struct MemberNorm {
  int64_t rows, size;
  double eps;
  bool relu;
};

// y, mean and var of x; var divides by `size`.
template <typename scalar_t>
void member_norm(const MemberNorm& shape, const scalar_t* x, const scalar_t* weight, const scalar_t* bias, scalar_t* y,
                 scalar_t* mean, scalar_t* var);

// dx, dweight and dbias of dy.
template <typename scalar_t>
void member_norm_dx(const MemberNorm& shape, const scalar_t* x, const scalar_t* weight, const scalar_t* bias,
                    const scalar_t* mean, const scalar_t* var, const scalar_t* dy, scalar_t* dx, scalar_t* dweight,
                    scalar_t* dbias);

}  // namespace infotorch::cpu
