// CUDA on the host, as far as the kernels of csrc/cuda need it: g++ compiles a .cu with this file in the place of
// <cuda_runtime.h>, and fibers.cpp runs every CUDA thread of a block as a fiber. Blocks run in shuffled order, and a
// seed chooses which runnable thread goes next, so a kernel can rely on its barriers alone.
//
// A kernel has 1-3 axes of blocks and threads, dynamic shared memory, barriers, full-mask shuffles, and warp_exchange
// for whatever else a warp does together. It has no __shared__ arrays (they could not be refilled with NaN), partial
// masks, atomics, cooperative groups, asynchronous copies or PTX: those don't compile here.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// As aligned as on a GPU, so that UBSan sees a misaligned wide access.
#define EMULATE_VECTORS(name, type)                                           \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };                    \
  struct name##3 { type x, y, z; };                                           \
  struct alignas(16) name##4 { type x, y, z, w; };                            \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
EMULATE_VECTORS(int, int)
EMULATE_VECTORS(uint, unsigned)
EMULATE_VECTORS(float, float)
EMULATE_VECTORS(double, double)
#undef EMULATE_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 gridDim, blockDim;
extern uint3 blockIdx, threadIdx;
constexpr int warpSize = 32;

namespace emulate {

extern uint64_t seed;      // of the next launch's schedule
extern uint64_t launches;  // so far

struct Launch {
  int threads;
  size_t shared_bytes;
};
extern std::map<const void*, Launch> asked;  // the most, by each kernel so far

// Runs `body` once for every thread. `kernel` is the function whose opt-in allows more than 48 KiB of shared memory;
// without it, the largest opt-in so far counts. What CUDA refuses or leaves undefined aborts, with a text and the seed.
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body, const void* kernel = nullptr);
void* shared_memory();  // of this block: `shared_bytes` exactly, NaN wherever nothing was written

int lane();
void sync_block();
void sync_warp();
bool allow_shared(const void* kernel, int64_t bytes);  // false if a GPU we build for has less

// A collective of the whole warp: `all` [32, bytes] becomes what each lane brought, 0xff bytes for lanes the warp
// lacks. It orders no memory, as no shuffle does: only barriers let lanes see each other's writes.
void warp_exchange(const void* mine, size_t bytes, void* all);

void demand_full_mask(unsigned mask);

template <typename T>
T shuffle(unsigned mask, T value, int from) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8, "what CUDA can shuffle");
  demand_full_mask(mask);
  T all[warpSize];
  warp_exchange(&value, sizeof value, all);
  return 0 <= from && from < warpSize ? all[from] : value;
}

}  // namespace emulate

inline void __syncthreads() { emulate::sync_block(); }
inline void __syncwarp(unsigned mask = ~0u) {
  emulate::demand_full_mask(mask);
  emulate::sync_warp();
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return emulate::shuffle(mask, value, lane & (warpSize - 1));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return emulate::shuffle(mask, value, emulate::lane() ^ bits);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  return emulate::shuffle(mask, value, emulate::lane() - static_cast<int>(by));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  return emulate::shuffle(mask, value, emulate::lane() + static_cast<int>(by));
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  emulate::demand_full_mask(mask);
  int all[warpSize];
  const int mine = predicate != 0;
  emulate::warp_exchange(&mine, sizeof mine, all);
  unsigned bits = 0;
  for (int k = 0; k < warpSize; ++k) bits |= unsigned{all[k] == 1} << k;
  return bits;
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }

template <typename T>
T __ldg(const T* at) {
  return *at;
}
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<uint64_t>(x) * y >> 32; }
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
template <typename T>
T min(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return std::fmin(x, y);
  return y < x ? y : x;
}
template <typename T>
T max(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) return std::fmax(x, y);
  return x < y ? y : x;
}

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
using cudaStream_t = void*;
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline const char* cudaGetErrorString(cudaError_t error) { return error ? "invalid argument" : "no error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }  // a launch that fails aborts
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return emulate::allow_shared(reinterpret_cast<const void*>(kernel), bytes) ? cudaSuccess : cudaErrorInvalidValue;
}
