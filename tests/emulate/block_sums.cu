// A kernel that uses all that fibers.cpp has, for test_faults.py to break: out[n] = sum of b[n, :, :].
#include <cuda_runtime.h>

#include "driver.h"

namespace infotorch {
namespace {

constexpr int kThreads = 96, kWarps = kThreads / warpSize;

// Block n adds x[n, 0 : size] into out[n].
template <typename scalar_t>
__global__ void block_sums_kernel(int64_t size, const scalar_t* x, double* out) {
  double* const cell = static_cast<double*>(emulate::shared_memory());  // [kThreads]
  const int lane = threadIdx.x % warpSize, warp = threadIdx.x / warpSize;
  double sum = 0;
  for (int64_t k = threadIdx.x; k < size; k += kThreads) sum += x[blockIdx.x * size + k];
  cell[threadIdx.x] = sum;
  __syncwarp();
  sum += cell[threadIdx.x ^ 16];
  for (int bits = 8; bits > 0; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  __syncthreads();  // all have read their cells
  if (lane == 0) cell[warp] = sum;
  __syncthreads();
  if (warp > 0) return;
  const double mine = lane < kWarps ? cell[lane] : 0;
  double all[warpSize], total = 0;
  emulate::warp_exchange(&mine, sizeof mine, all);
  for (int k = 0; k < kWarps; ++k) total += all[k];
  if (lane == 0) out[blockIdx.x] = total;
}

template <typename scalar_t>
void block_sums(Call& call) {
  const std::vector<int64_t>& size = call.array("b").size;
  const int shared_bytes = kThreads * sizeof(double);
  double* const out = call.result<double>(size[0]);
  const auto* const x = call.data<scalar_t>("b");
  if (size[0] == 0) return;
  emulate::run(dim3(size[0]), dim3(kThreads), shared_bytes, [&] { block_sums_kernel(size[1] * size[2], x, out); });
}

const Entry entry("block_sums", block_sums<float>, block_sums<double>);

}  // namespace
}  // namespace infotorch
