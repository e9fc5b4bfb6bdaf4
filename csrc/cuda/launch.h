// The one place that spells a kernel launch and dynamic shared memory. With INFOTORCH_EMULATE the same source compiles
// with g++, and its blocks run on the fibers of tests/emulate.
//
//   launch(kernel, blocks, threads, shared_bytes, stream, args...)   nullptr, or what went wrong
//   dynamic_shared<T>()                                              in a kernel: its shared memory, 16-byte aligned
//
// Grids have one axis: a kernel takes its place in the work from blockIdx.x, so no axis of 65535 can overflow.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef INFOTORCH_EMULATE
#define __grid_constant__
#endif

namespace infotorch::cuda {

constexpr int64_t kMostBlocks = INT32_MAX;
constexpr int kPlainShared = 48 << 10;  // bytes; a kernel must ask for more
// Bytes that a processor (SM) has for its blocks on the smallest GPU we build for, sm_120, and keeps of each block.
constexpr int kLeastShared = 100 << 10, kReservedShared = 1 << 10;

template <typename... Params, typename... Args>
const char* launch(void (*kernel)(Params...), int64_t blocks, int threads, int shared_bytes, void* stream,
                   const Args&... args) {
  if (blocks == 0) return nullptr;
  if (blocks > kMostBlocks) return "more blocks than a grid can have";
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kPlainShared)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) {
    cudaGetLastError();  // the runtime keeps an error until it is asked, and would report it of the next launch
    return cudaGetErrorString(error);
  }
  const dim3 grid(static_cast<unsigned>(blocks));
#ifdef INFOTORCH_EMULATE
  (void)stream;
  emulate::run(grid, dim3(threads), shared_bytes, [=] { kernel(args...); }, reinterpret_cast<const void*>(kernel));
#else
  // clang-format off
  kernel<<<grid, threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  // clang-format on
  error = cudaGetLastError();
#endif
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <typename T>
__device__ T* dynamic_shared() {
#ifdef INFOTORCH_EMULATE
  return static_cast<T*>(emulate::shared_memory());
#else
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
#endif
}

}  // namespace infotorch::cuda
