#include "../limit.h"
#include "limit_rows.h"

namespace infotorch::cuda {
namespace {

// Thread n works on row n of a single logit.
template <typename scalar_t, typename stored_t>
__global__ void __launch_bounds__(256, 1) single_kernel(LimitOptions options, LimitRows<scalar_t> rows) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= rows.N) return;
  const scalar_t z = widen(static_cast<const stored_t*>(rows.logits)[n]);
  const scalar_t v = widen(static_cast<const stored_t*>(rows.aux_logits)[n]);
  const scalar_t t = rows.labels == nullptr ? rows.soft[n] : static_cast<scalar_t>(rows.labels[n]);
  SingleRow<scalar_t> row = {};
  const bool valid = counts(options, rows, n);
  const bool good = rows.labels == nullptr ? 0 <= t && t <= 1 : rows.labels[n] == 0 || rows.labels[n] == 1;
  if (valid) row = single_row(options, z, v, t, rows.weight == nullptr ? scalar_t(1) : *rows.weight);
  if (valid && !good) row.aux_grad = nan_of<scalar_t>();
  narrow(row.inject, static_cast<stored_t*>(rows.inject) + n);
  narrow(row.aux_grad, static_cast<stored_t*>(rows.aux_grad) + n);
  if (rows.sample != nullptr) {
    double four[4];
    draw_noise(options.noise, options.noise.id(n), 0, noise_kind(options.match), four);
    const scalar_t noise = valid ? static_cast<scalar_t>(options.noise_scale * four[0]) : scalar_t(0);
    narrow(row.inject + noise, static_cast<stored_t*>(rows.sample) + n);
  }
  put_row(rows, n, valid, good, row.results, z > 0, v > 0);
}

// Rows of few classes: block b works on rows b * blockDim.x ... of which each thread has one. They pass through shared
// memory, so that neighbouring threads read and write neighbouring numbers.
template <bool plain, typename scalar_t, typename stored_t>
__global__ void __launch_bounds__(kShortThreads, 1) short_kernel(LimitOptions options, LimitRows<scalar_t> rows) {
  const int64_t n0 = static_cast<int64_t>(blockIdx.x) * blockDim.x;
  const int64_t count = rows.N - n0 < blockDim.x ? rows.N - n0 : blockDim.x;
  const int C = static_cast<int>(rows.C), pitch = C | 1;  // odd: threads of a warp meet no bank twice
  scalar_t* const z = dynamic_shared<scalar_t>();         // [blockDim.x, pitch]
  scalar_t* const v = z + blockDim.x * pitch;
  for (int k = threadIdx.x; k < count * C; k += blockDim.x) {
    z[k / C * pitch + k % C] = widen(static_cast<const stored_t*>(rows.logits)[n0 * C + k]);
    v[k / C * pitch + k % C] = widen(static_cast<const stored_t*>(rows.aux_logits)[n0 * C + k]);
  }
  __syncthreads();
  if (threadIdx.x < count) {
    const Row<Alone, scalar_t, scalar_t> row = {
        z + threadIdx.x * pitch, v + threadIdx.x * pitch, nullptr, nullptr, C, 0};
    work<plain, stored_t>(options, rows, n0 + threadIdx.x, Alone{}, row,
                          InPlace<scalar_t>{z + threadIdx.x * pitch, v + threadIdx.x * pitch});
  }
  __syncthreads();
  for (int k = threadIdx.x; k < count * C; k += blockDim.x) {
    narrow(z[k / C * pitch + k % C], static_cast<stored_t*>(rows.inject) + n0 * C + k);
    narrow(v[k / C * pitch + k % C], static_cast<stored_t*>(rows.aux_grad) + n0 * C + k);
  }
}

// Warp n works on row n, which its lanes keep in shared memory.
template <bool plain, typename scalar_t, typename stored_t>
__global__ void __launch_bounds__(kWarps* kWarp, 1) warp_kernel(LimitOptions options, LimitRows<scalar_t> rows) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (n >= rows.N) return;
  scalar_t* const z = dynamic_shared<scalar_t>() + threadIdx.x / kWarp * 2 * rows.C;
  const int64_t at = n * rows.C;
  const Row<Warp, scalar_t, stored_t> row = {static_cast<const stored_t*>(rows.logits) + at,
                                             static_cast<const stored_t*>(rows.aux_logits) + at,
                                             z,
                                             z + rows.C,
                                             rows.C,
                                             rows.C};
  work<plain, stored_t>(options, rows, n, Warp{}, row, ToGlobal<stored_t>{rows, at});
}

// Block n works on row n, of which it keeps the first `kept` classes in shared memory.
template <bool plain, typename scalar_t, typename stored_t>
__global__ void __launch_bounds__(kLongThreads, 1)
    block_kernel(LimitOptions options, LimitRows<scalar_t> rows, int64_t kept) {
  const int64_t n = blockIdx.x, at = n * rows.C;
  Block<scalar_t> group = {dynamic_shared<scalar_t>()};
  scalar_t* const z = group.cells + Block<scalar_t>::kCells;
  const Row<Block<scalar_t>, scalar_t, stored_t> row = {static_cast<const stored_t*>(rows.logits) + at,
                                                        static_cast<const stored_t*>(rows.aux_logits) + at,
                                                        z,
                                                        z + kept,
                                                        rows.C,
                                                        kept};
  work<plain, stored_t>(options, rows, n, group, row, ToGlobal<stored_t>{rows, at});
}

template <bool plain, typename stored_t, typename scalar_t>
const char* rows_of(const LimitOptions& options, const LimitRows<scalar_t>& rows, void* stream) {
  constexpr int bytes = kClassBytes<scalar_t>;
  const auto blocks = [&](int64_t each) { return (rows.N + each - 1) / each; };
  if ((rows.C | 1) * bytes <= kThreadBytes) {
    const int shared = kShortThreads * (static_cast<int>(rows.C) | 1) * bytes;
    return launch(short_kernel<plain, scalar_t, stored_t>, blocks(kShortThreads), kShortThreads, shared, stream,
                  options, rows);
  }
  if (rows.C * bytes <= kWarpBytes) {
    const int shared = kWarps * static_cast<int>(rows.C) * bytes;
    return launch(warp_kernel<plain, scalar_t, stored_t>, blocks(kWarps), kWarps * kWarp, shared, stream, options,
                  rows);
  }
  const int64_t kept = rows.C < kBlockBytes / bytes ? rows.C : kBlockBytes / bytes;
  const int shared = static_cast<int>(Block<scalar_t>::kCells * sizeof(scalar_t) + kept * bytes);
  return launch(block_kernel<plain, scalar_t, stored_t>, rows.N, kLongThreads, shared, stream, options, rows, kept);
}

template <typename stored_t, typename scalar_t>
const char* stored_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, void* stream) {
  if (rows.C == 1)
    return launch(single_kernel<scalar_t, stored_t>, (rows.N + 255) / 256, 256, 0, stream, options, rows);
  const bool plain = rows.labels != nullptr && rows.weight == nullptr && options.smoothing == 0;
  return plain ? rows_of<true, stored_t>(options, rows, stream) : rows_of<false, stored_t>(options, rows, stream);
}

// Thread k draws numbers 4 k ... 4 k + 3 of all rows, each of which has whole blocks of four.
__global__ void __launch_bounds__(256) noise_kernel(NoiseKey key, int64_t N, int64_t C, NoiseKind kind, double* out) {
  const int64_t blocks = (C + 3) / 4, k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= N * blocks) return;
  const int64_t n = k / blocks, block = k % blocks;
  double four[4];
  draw_noise(key, key.id(n), block, kind, four);
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (4 * block + j < C) out[n * C + 4 * block + j] = four[j];
}

}  // namespace

template <>
const char* limit(const LimitOptions& options, const LimitRows<float>& rows, void* stream) {
  if (rows.storage == Storage::bfloat16) return stored_rows<BFloat16>(options, rows, stream);
  if (rows.storage == Storage::float16) return stored_rows<Float16>(options, rows, stream);
  return stored_rows<float>(options, rows, stream);
}

template <>
const char* limit(const LimitOptions& options, const LimitRows<double>& rows, void* stream) {
  return stored_rows<double>(options, rows, stream);
}

const char* limit_noise(const NoiseKey& key, int64_t N, int64_t C, NoiseKind kind, double* out, void* stream) {
  return launch(noise_kernel, (N * ((C + 3) / 4) + 255) / 256, 256, 0, stream, key, N, C, kind, out);
}

}  // namespace infotorch::cuda
