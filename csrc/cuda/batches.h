// Work on some samples at a time, so that what is held beside inputs and results stays small.
#pragma once

#include <algorithm>

#include "../pair.h"
#include "scratch.h"

namespace infotorch::cuda {

constexpr int64_t kScratchBytes = 32 * kMiB;  // unless a single sample needs more

// As many samples as need no more than that, or one. need(samples) is in bytes; it may grow slower than they do.
template <typename Need>
int64_t batch_of(int64_t N, const Need& need) {
  int64_t batch = std::max<int64_t>(1, N);
  while (batch > 1 && need(batch) > kScratchBytes) batch = (batch + 1) / 2;
  return batch;
}

// The bytes of the arrays that a Held takes from its last argument.
template <typename Held, typename... Args>
int64_t bytes_of(const Args&... args) {
  Scratch measured(nullptr);
  Held{args..., measured};
  return measured.bytes();
}

// What N samples need that are done in such batches, the last of which may have fewer samples, and more to share out.
template <typename Need>
int64_t need_of_batches(int64_t N, const Need& need) {
  const int64_t batch = batch_of(N, need);
  return N == 0 ? 0 : std::max(need(batch), N % batch ? need(N % batch) : 0);
}

// Runs body(first sample, how many) for each; nullptr, or the first that went wrong.
template <typename Need, typename Body>
const char* in_batches(int64_t N, const Need& need, const Body& body) {
  const int64_t batch = batch_of(N, need);
  const char* error = nullptr;
  for (int64_t n = 0; n < N && !error; n += batch) error = body(n, std::min(batch, N - n));
  return error;
}

// The samples from n on.
template <typename scalar_t>
Rows<scalar_t> from(const Rows<scalar_t>& x, int64_t n) {
  Rows<scalar_t> rows = x;
  rows.data = x.at(n * x.n_stride);
  return rows;
}

inline Ids from(const Ids& x, int64_t n) { return {x.data + n * x.n_stride, x.n_stride, x.t_stride, x.bias}; }

// A contiguous matrix [positions, features] as one sample's rows.
template <typename scalar_t>
Rows<scalar_t> matrix(const scalar_t* data, int64_t positions, int64_t features) {
  Rows<scalar_t> rows = {data, Storage::same, 0, {}, {}};
  rows.t.append(positions, features);
  rows.i.append(features, 1);
  return rows;
}

}  // namespace infotorch::cuda
