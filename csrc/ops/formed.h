// Gradients of a plain pair, some at a time, formed by torch's batched product.
#pragma once

#include <algorithm>

#include "../parallel.h"
#include "pair.h"

namespace infotorch {

constexpr int64_t kFormedBytes = int64_t{16} << 20;   // that are held at once
constexpr int64_t kFormedSamples = int64_t{1} << 15;  // a product may add so many up in their own precision

inline int64_t number_bytes(const Tensor& x) { return x.scalar_type() == ScalarType::Double ? 8 : 4; }

// Whether that beats tiles in cache, as benchmarks/ops/{norms,gram,grads,vjp}.py measured: on wide layers with many
// positions, where torch's product reaches its peak, and writing a gradient is cheap beside forming it.
inline bool forms_by_product(const Tensor& a, const PairShape& s, const PairOptions& options) {
  const int64_t wide = std::max(s.I, s.O), narrow = std::min(s.I, s.O);
  return is_plain(a, s, options) && storage_of(a) == Storage::same && s.T >= 128 && wide >= 256 && narrow >= 16 &&
         s.T * wide >= 1 << 16;
}

// Rows o ... o + rows of the gradients of samples n ... n + count.
struct Formed {
  int64_t n, count, o, rows;
};

// Runs body(which, these [count, rows, I], contiguous, in the result's dtype) until it has seen every gradient: whole
// ones while some megabytes hold them, so that they are still in a cache, and rows of a larger one, or of several
// samples `together`, for which what is read beside them is read once. Samples follow each other for the same rows.
template <typename Body>
void for_formed(const Tensor& a, const Tensor& b, const PairShape& s, int64_t together, const Body& body) {
  constexpr int64_t least_rows = 64;
  const int64_t most = kFormedBytes / number_bytes(b), cached = most / 4;  // numbers
  const int64_t pieces = together > 1 ? std::max<int64_t>(1, std::min(s.N, together) * s.O * s.I / cached) : 1;
  const int64_t fitting = std::clamp<int64_t>(most / s.I, 1, s.O);
  const int64_t rows = std::min(fitting, std::max(least_rows, (s.O + pieces - 1) / pieces));
  // Batches of nearly one size: torch's threads share out whole gradients.
  const int64_t batches = (s.N * rows * s.I + cached - 1) / cached;
  const int64_t shared = std::max<int64_t>((s.N + batches - 1) / batches, std::min<int64_t>(num_threads(), s.N));
  const int64_t count = std::clamp<int64_t>(most / (rows * s.I), 1, std::min(shared, kFormedSamples));
  const Tensor held = new_empty(b, {count * rows * s.I});
  for (int64_t o = 0; o < s.O; o += rows)
    for (int64_t n = 0; n < s.N; n += count) {
      const Formed here = {n, std::min(count, s.N - n), o, std::min(rows, s.O - o)};
      Tensor g = as_strided(held, {here.count, here.rows, s.I}, {here.rows * s.I, s.I, 1});
      const Tensor a_here = to_result_dtype(samples(a, n, here.count));
      const Tensor b_here = to_result_dtype(columns(samples(b, n, here.count), o, here.rows));
      batched_matmul_out(transposed(b_here), a_here, g);
      body(here, g);
    }
}

}  // namespace infotorch
