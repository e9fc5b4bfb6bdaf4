// The 16-bit numbers that inputs may be stored in, and their exact values. Nothing is ever computed in them.
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

// What is stored as it is computed in, so that one body serves every storage.
INFOTORCH_HOST_DEVICE inline float widen(float x) { return x; }
INFOTORCH_HOST_DEVICE inline double widen(double x) { return x; }

}  // namespace infotorch
