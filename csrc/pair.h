// The captured pair of one layer: a [N, T, I] inputs, b [N, T, O] output-gradients.
// The gradient of sample n is G[n] = sum_t b[n, t] (x) a[n, t], of shape [O, I].
#pragma once

#include <cstdint>

#include "half.h"

namespace infotorch {

struct PairShape {
  int64_t N;  // samples
  int64_t T;  // positions at which the weight is used (tokens, pixels; 1 for a plain vector)
  int64_t I;  // in-features, the bias's included
  int64_t O;  // out-features
};

// Some axes of a strided tensor, counted through in row-major order.
struct Axes {
  static constexpr int64_t kMax = 5;  // the samples and up to four of positions, or of features
  int64_t count = 0;
  int64_t size[kMax] = {}, stride[kMax] = {};

  // Adds an axis on the right. Neighbours that one stride can walk become one axis, sizes of 1 none.
  void append(int64_t new_size, int64_t new_stride) {
    if (new_size == 1 && count > 0) return;
    const bool merge = count > 0 && (size[count - 1] == 1 || stride[count - 1] == new_size * new_stride);
    count += merge ? 0 : 1;
    size[count - 1] = merge ? size[count - 1] * new_size : new_size;
    stride[count - 1] = new_stride;
  }

  int64_t total() const {
    int64_t product = 1;
    for (int64_t d = 0; d < count; ++d) product *= size[d];
    return product;
  }

  int64_t offset(int64_t index) const {
    int64_t at = 0;
    for (int64_t d = count - 1; d > 0; index /= size[d--]) at += index % size[d] * stride[d];
    return at + index * stride[0];
  }

  // to[j] = offset(index + j), j < n.
  void offsets(int64_t index, int64_t n, int64_t* to) const {
    int64_t digit[kMax] = {}, at = offset(index);
    for (int64_t d = count - 1; d > 0; index /= size[d--]) digit[d] = index % size[d];
    for (int64_t j = 0; j < n; ++j) {
      to[j] = at;
      int64_t d = count - 1;
      at += stride[d];
      for (; d > 0 && ++digit[d] == size[d]; at += stride[--d]) {
        at -= size[d] * stride[d];
        digit[d] = 0;
      }
    }
  }

  // How many elements from `index` on lie one stride apart.
  int64_t run(int64_t index) const { return size[count - 1] - index % size[count - 1]; }
  int64_t step() const { return stride[count - 1]; }
};

// How numbers lie in memory: as the scalar_t that is computed in, or in 16 bits, which become float where rows are
// read.
enum class Storage { same, bfloat16, float16 };

// One side of a pair as it lies in memory: [N, *t, *i], with one more feature that is always 1 if `bias`.
// The patches of a convolution are such a view of its padded input; nothing ever unfolds them.
template <typename scalar_t>
struct Rows {
  const void* data;
  Storage storage;
  int64_t n_stride;
  Axes t, i;
  bool bias = false;

  template <typename stored_t>
  INFOTORCH_HOST_DEVICE const stored_t* as() const {
    return static_cast<const stored_t*>(data);
  }

  int64_t bytes() const { return storage == Storage::same ? sizeof(scalar_t) : sizeof(uint16_t); }  // of one number
  const char* at(int64_t offset) const { return as<char>() + offset * bytes(); }
};

// Runs body(pointer to the first number, of the type that it is stored as).
template <typename scalar_t, typename Body>
void for_storage(const Rows<scalar_t>& x, const Body& body) {
  if constexpr (sizeof(scalar_t) == sizeof(float)) {
    if (x.storage == Storage::bfloat16) return body(x.template as<BFloat16>());
    if (x.storage == Storage::float16) return body(x.template as<Float16>());
  }
  body(x.template as<scalar_t>());
}

// All positions of samples n0 ... n0 + count, as those of one sample.
template <typename scalar_t>
Rows<scalar_t> stacked(const Rows<scalar_t>& x, int64_t n0, int64_t count) {
  Rows<scalar_t> rows = {x.at(n0 * x.n_stride), x.storage, 0, {}, x.i, x.bias};
  rows.t.append(count, x.n_stride);
  for (int64_t d = 0; d < x.t.count; ++d) rows.t.append(x.t.size[d], x.t.stride[d]);
  return rows;
}

// The a of an embedding: row t of sample n is one-hot at data[n * n_stride + t * t_stride], in [0, I).
struct Ids {
  const int64_t* data;
  int64_t n_stride, t_stride;
  bool bias = false;
};

}  // namespace infotorch
