// The 16-bit numbers that inputs and results may be stored in: their exact values, and the nearest of them to a float.
// Nothing is ever computed in them.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define INFOTORCH_HOST_DEVICE __host__ __device__
#else
#define INFOTORCH_HOST_DEVICE
#endif

namespace infotorch {

// Sign, 8 bits of exponent and 7 of fraction: the upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

// IEEE 754 binary16: sign, 5 bits of exponent and 10 of fraction.
struct Float16 {
  uint16_t bits;

  // A binary16's exponent and fraction, shifted to their places in a float32, lack this much of its exponent.
  static constexpr int kShift = 13;
  static constexpr uint32_t kRebias = uint32_t{127 - 15} << 23;
  static constexpr uint32_t kOne = uint32_t{1} << 23;        // of the exponent; below it zero and the subnormals
  static constexpr uint32_t kInfinity = uint32_t{31} << 23;  // from here on infinity and NaN, which lack twice as much
};

INFOTORCH_HOST_DEVICE inline float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

INFOTORCH_HOST_DEVICE inline float widen(BFloat16 x) { return float_of_bits(uint32_t{x.bits} << 16); }

INFOTORCH_HOST_DEVICE inline float widen(Float16 x) {
  const uint32_t rest = uint32_t{x.bits & 0x7fffu} << Float16::kShift;
  uint32_t bits = rest + Float16::kRebias + (rest >= Float16::kInfinity ? Float16::kRebias : 0);
  if (rest < Float16::kOne) {  // 2^-14 (1 + fraction) - 2^-14, in which no operand is subnormal in float32
    const float small = float_of_bits(bits + Float16::kOne) - 0x1p-14f;
    memcpy(&bits, &small, sizeof(bits));
  }
  return float_of_bits(bits | uint32_t{x.bits & 0x8000u} << 16);
}

INFOTORCH_HOST_DEVICE inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

// The nearest; of two the one with an even fraction. NaN stays NaN.
INFOTORCH_HOST_DEVICE inline void narrow(float x, BFloat16* to) {
  const uint32_t bits = bits_of_float(x);
  to->bits = static_cast<uint16_t>(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INFOTORCH_HOST_DEVICE inline void narrow(float x, Float16* to) {
  const uint32_t sign = bits_of_float(x) >> 16 & 0x8000, rest = bits_of_float(x) & 0x7fffffff;
  const uint32_t normal = rest - Float16::kRebias + 0xfff + (rest >> Float16::kShift & 1);
  uint32_t bits = normal >> Float16::kShift;
  if (rest < Float16::kRebias + Float16::kOne)  // a subnormal is a multiple of 2^-24, as the last bit of 1/2 is
    bits = bits_of_float(float_of_bits(rest) + 0.5f) - bits_of_float(0.5f);
  if (rest >= 0x477ff000) bits = Float16::kInfinity >> Float16::kShift;  // 65520, halfway to what would be next
  if (x != x) bits = 0x7e00;
  to->bits = static_cast<uint16_t>(sign | bits);
}

// What is stored as it is computed in, so that one body serves every storage.
INFOTORCH_HOST_DEVICE inline float widen(float x) { return x; }
INFOTORCH_HOST_DEVICE inline double widen(double x) { return x; }
INFOTORCH_HOST_DEVICE inline void narrow(float x, float* to) { *to = x; }
INFOTORCH_HOST_DEVICE inline void narrow(double x, double* to) { *to = x; }

}  // namespace infotorch
