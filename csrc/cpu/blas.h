// Products by torch's own BLAS, on processors where it is faster than the tiles of tile.h: every call runs on the
// thread that makes it.
#pragma once

#include <cstring>

#include "pack.h"

namespace infotorch::cpu {

// A factor of a product as it is stored: element [k, c] is number k * stride + c, or c * stride + k if it is turned.
struct Stored {
  const void* data = nullptr;
  int64_t stride = 0;
  Storage storage = Storage::same;
  bool turned = false;
};

// Whether that BLAS is there and faster for factors stored so. One answer on one machine: the processor's maker gives
// it, or the environment (INFOTORCH_MKL, 0 or 1). Throws std::invalid_argument where that can't be had.
bool has_fast_blas(Storage storage);

// out[r, c] = or += sum_k y[k, r] x[k, c], r < rows, c < cols, k < depth. Both factors are stored alike, and sizes and
// strides fit an int32.
void blas_product(const Stored& x, int64_t cols, const Stored& y, int64_t rows, int64_t depth, bool add, float* out,
                  int64_t out_stride);
void blas_product(const Stored& x, int64_t cols, const Stored& y, int64_t rows, int64_t depth, bool add, double* out,
                  int64_t out_stride);

constexpr int64_t kBlasTerms = 1024;  // of a sum before it is added to the others: neither is a long one

// Features c0 ... c0 + cols of positions t0 ... of sample n where they lie, without a bias; data is nullptr if they
// don't lie as such a factor.
template <typename scalar_t>
Stored stored(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t c0, int64_t cols) {
  const int64_t stride = x.t.step();
  const bool dense = x.t.count == 1 && x.i.count == 1 && x.i.step() == 1;
  const bool apart = stride >= std::max<int64_t>(1, cols) && stride <= INT32_MAX;
  if (!dense || !apart || c0 + cols > x.i.total()) return {};
  return {x.at(n * x.n_stride + t0 * stride + c0), stride, x.storage};
}

// The same of `depth` positions, packed into `panel`, panel_stride(cols) numbers apart, if they don't.
template <typename scalar_t>
Stored as_stored(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t depth, int64_t c0, int64_t cols,
                 scalar_t* panel) {
  const Stored lying = stored(x, n, t0, c0, cols);
  if (lying.data) return lying;
  const int64_t stride = panel_stride(cols);
  pack_features(x, n, t0, depth, c0, cols, panel, stride);
  auto* const bytes = reinterpret_cast<char*>(panel);
  for (int64_t k = 0; k < depth * stride && x.storage == Storage::bfloat16; ++k) {  // back to what they were
    BFloat16 number;
    narrow(panel[k], &number);
    std::memcpy(bytes + k * sizeof(number), &number, sizeof(number));
  }
  return {panel, stride, x.storage};
}

}  // namespace infotorch::cpu
