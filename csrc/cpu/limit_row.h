// What the kernels of limit do with a row of logits, compiled for every instruction set, and what they hold of it.
#pragma once

#include <algorithm>
#include <vector>

#include "../limit_single.h"
#include "simd.h"

namespace infotorch::cpu {

// The first largest of a row's numbers.
template <typename scalar_t>
struct Top {
  scalar_t value;
  int64_t at;
};

// What a thread keeps of a row while it is worked on: whole vectors, zeros after C.
template <typename scalar_t>
struct RowMemory {
  int64_t padded;
  std::vector<scalar_t> memory;
  scalar_t *z, *v, *t, *w, *noise;

  RowMemory(int64_t C, const scalar_t* weight)
      : padded((C + kLanes<scalar_t> - 1) / kLanes<scalar_t> * kLanes<scalar_t>),
        memory(5 * padded + kLanes<scalar_t>) {
    const auto begin = reinterpret_cast<uintptr_t>(memory.data());
    z = memory.data() + (64 - begin % 64) % 64 / sizeof(scalar_t);  // no vector straddles two lines
    v = z + padded;
    t = v + padded;
    w = t + padded;
    noise = w + padded;
    if (weight != nullptr) std::copy(weight, weight + C, w);
  }
};

// Where the vectors of a row's result go: into the row itself, but for the last if it isn't full.
template <typename scalar_t>
struct RowOut {
  scalar_t *row, *rest;
  int64_t whole;

  INFOTORCH_INLINE scalar_t* at(int64_t c) const { return c < whole ? row + c : rest; }
};

// [C, lanes]: as many rows as there are lanes, with a label each.
template <typename scalar_t>
struct ShortRows {
  static constexpr int64_t kRows = kLanes<scalar_t>;

  int64_t C;
  scalar_t *z, *v;  // logits, and after it mu and aux_grad
  int64_t label[kRows];
  Top<scalar_t> z_top[kRows], v_top[kRows];
  RowResults<scalar_t> results[kRows];
};

#define INFOTORCH_LIMIT_ROW(scalar_t)                                                                          \
  /* to = x, -inf after its C numbers. NaN is passed over by the top. */                                       \
  Top<scalar_t> copy_and_top(const scalar_t* x, int64_t C, scalar_t* to);                                      \
  /* Of one label and no weights; row.z and row.v hold logits, copied with their tops. */                      \
  RowResults<scalar_t> plain_row(const LimitOptions& options, const RowMemory<scalar_t>& row, int64_t label,   \
                                 Top<scalar_t> z_top, Top<scalar_t> v_top, const RowOut<scalar_t>& mu,         \
                                 const RowOut<scalar_t>& aux_grad);                                            \
  void short_rows(const LimitOptions& options, ShortRows<scalar_t>& rows);                                     \
  /* Of the target in row.t, with the weights in row.w or none. */                                             \
  RowResults<scalar_t> general_row(const LimitOptions& options, const RowMemory<scalar_t>& row, bool weighted, \
                                   Top<scalar_t> z_top, Top<scalar_t> v_top, const RowOut<scalar_t>& mu,       \
                                   const RowOut<scalar_t>& aux_grad);                                          \
  /* to = draws for row n, times scale. */                                                                     \
  void fill_noise(const NoiseKey& key, int64_t n, int64_t C, NoiseKind kind, double scale, scalar_t* to);
INFOTORCH_LIMIT_ROW(float)
INFOTORCH_LIMIT_ROW(double)
#undef INFOTORCH_LIMIT_ROW

Top<float> copy_and_top(const BFloat16* x, int64_t C, float* to);
Top<float> copy_and_top(const Float16* x, int64_t C, float* to);
void narrow_row(const float* x, int64_t C, BFloat16* to);
void narrow_row(const float* x, int64_t C, Float16* to);

}  // namespace infotorch::cpu
