// Convolutions of many networks, each with weights and inputs of its own, with the samples innermost.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// x [E, C, H, W, B], w [E, O, C, kh, kw], y [E, O, Ho, Wo, B].
struct MemberConv {
  int64_t E, C, H, W, B, O, Ho, Wo;
  int64_t kh, kw, sh, sw, ph, pw, dh, dw;
};

// y = w * x, or its positive part.
template <typename scalar_t>
void member_conv(const MemberConv& shape, const scalar_t* x, const scalar_t* w, scalar_t* y, bool relu);

// dx of dy.
template <typename scalar_t>
void member_conv_dx(const MemberConv& shape, const scalar_t* dy, const scalar_t* w, scalar_t* dx);

// dw of x and dy; with the positive part y of a convolution, dy counts where y is positive.
template <typename scalar_t>
void member_conv_dw(const MemberConv& shape, const scalar_t* x, const scalar_t* dy, scalar_t* dw, const scalar_t* y);

}  // namespace infotorch::cpu
