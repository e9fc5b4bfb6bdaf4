// Matrix products of one warp on the tensor cores, accumulated in float32. Every lane of the warp must call them.
//
//   multiply_m16n8k16<BFloat16 | Float16>(acc, a, b)   acc [16, 8] += a [16, 16] b [16, 8]
//   multiply_m16n8k8(acc, a, b)                        the same of tf32, a [16, 8] and b [8, 8]
//   load_matrices<transpose>(to, row)                  four 8 x 8 matrices of 16-bit numbers from shared memory
//   round_tf32(x)                                      to 10 bits of fraction, ties away from zero
//
// Which lane holds what follows the PTX ISA ("Matrix Fragments for mma.m16n8k16" and "... for mma.m16n8k8"). With
// g = lane / 4 and q = lane % 4, a lane holds
//   acc[e]  at row g + 8 (e / 2), column 2 q + e % 2
//   a[r]    m16n8k16: row g + 8 (r % 2), columns 2 q + 8 (r / 2) and one more;   m16n8k8: column q + 4 (r / 2)
//   b[r]    m16n8k16: rows 2 q + 8 r and one more, column g;                     m16n8k8: row q + 4 r
// With INFOTORCH_EMULATE the same functions gather the operands of all lanes and follow these very tables, so a kernel
// that puts a number into the wrong place computes the wrong result on the host too.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "../half.h"

namespace infotorch::cuda {

constexpr int kWarp = 32;

#ifdef INFOTORCH_EMULATE

namespace emulated {

struct Fragments {
  uint32_t a[4], b[2];
};

// The number at place `half` of a word.
template <typename stored_t>
double number(uint32_t word, int half) {
  if constexpr (sizeof(stored_t) == sizeof(float))
    return float_of_bits(word);
  else
    return widen(stored_t{static_cast<uint16_t>(word >> 16 * half)});
}

// acc += a b, `pack` numbers to a word, 8 * pack deep.
template <typename stored_t, int pack>
void multiply(float (&acc)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Fragments mine, all[kWarp];
  for (int r = 0; r < 4; ++r) mine.a[r] = a[r];
  for (int r = 0; r < 2; ++r) mine.b[r] = b[r];
  emulate::warp_exchange(&mine, sizeof(mine), all);
  const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
  for (int e = 0; e < 4; ++e) {
    const int row = g + 8 * (e / 2), col = 2 * q + e % 2;
    double sum = acc[e];
    for (int k = 0; k < 8 * pack; ++k) {
      const int lane = k / pack % 4, deep = k / (4 * pack), half = k % pack;
      sum += number<stored_t>(all[4 * (row % 8) + lane].a[row / 8 + 2 * deep], half) *
             number<stored_t>(all[4 * col + lane].b[deep], half);
    }
    acc[e] = static_cast<float>(sum);
  }
}

}  // namespace emulated

template <typename stored_t>
void multiply_m16n8k16(float (&acc)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<stored_t, 2>(acc, a, b);
}

inline void multiply_m16n8k8(float (&acc)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply<float, 1>(acc, a, b);
}

template <bool transpose>
void load_matrices(uint32_t (&to)[4], const void* row) {
  const uint16_t* rows[kWarp];
  emulate::warp_exchange(&row, sizeof(row), rows);
  const int g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
  for (int m = 0; m < 4; ++m) {
    uint32_t pair[2];
    for (int e = 0; e < 2; ++e) pair[e] = transpose ? rows[8 * m + 2 * q + e][g] : rows[8 * m + g][2 * q + e];
    to[m] = pair[0] | pair[1] << 16;
  }
}

inline float round_tf32(float x) {
  const uint32_t bits = __float_as_uint(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? __uint_as_float((bits + 0x1000u) & ~0x1fffu) : x;
}

#else

template <typename stored_t>
__device__ __forceinline__ void multiply_m16n8k16(float (&acc)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<stored_t, BFloat16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply_m16n8k8(float (&acc)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Lane l brings row l % 8 of matrix l / 8, eight numbers at 16-byte alignment, and gets to[m] = numbers 2 q and 2 q + 1
// of row g of matrix m, or, transposed, of its column g.
template <bool transpose>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transpose)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ float round_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
}

#endif

}  // namespace infotorch::cuda
