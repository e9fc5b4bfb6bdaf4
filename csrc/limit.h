// limit: what a step of LIMIT (arXiv:2002.07933, section 3) takes from the logits of a classifier and of its auxiliary
// network, row by row. Plain C++; no torch.
//
// With softmaxes s and u, a target t and weights w (1 where there are none) of a row:
//   g = (w . t) s - w t          the gradient of the classifier's loss, d = g - mu
//   mu = (w . u) s - w u         the auxiliary's prediction of it             -> inject
//   match = d . d, |d|_1 or CE(v, t);  pen = mu . mu
//   the gradient of match + beta pen in the auxiliary's logits                -> aux_grad
// With one logit (C = 1) softmaxes are sigmoids, and the weight is that of the positive class.
#pragma once

#include "limit_noise.h"
#include "pair.h"

namespace infotorch {

enum class LimitMatch { gaussian, laplace, ce };

constexpr double kTargetTolerance = 1e-4;  // of the sum of a row of class probabilities

// Rows [N, C], contiguous. A row counts unless its mask is false or its label is ignore_index. A row that counts
// without a target, because its label is out of range or its numbers are no distribution, has NaN in match, ce, dist
// and aux_grad.
template <typename scalar_t>
struct LimitRows {
  int64_t N, C;
  Storage storage;  // of all [N, C] but the soft target
  const void *logits, *aux_logits;
  const int64_t* labels;   // [N], or nullptr where the target is soft
  const scalar_t* soft;    // [N, C]
  const scalar_t* weight;  // [C], or nullptr
  const bool* mask;        // [N], or nullptr

  void *inject, *aux_grad, *sample;   // sample: inject plus a draw, where one is asked for
  scalar_t *match, *pen, *ce, *dist;  // [N]
  bool* valid;                        // [N]
  int64_t *top, *aux_top;             // [N], the first largest
};

struct LimitOptions {
  LimitMatch match;
  double beta, smoothing;
  int64_t ignore_index;
  NoiseKey noise;
  double noise_scale;
};

INFOTORCH_HOST_DEVICE inline NoiseKind noise_kind(LimitMatch match) {
  return match == LimitMatch::laplace ? NoiseKind::laplace : NoiseKind::gaussian;
}

namespace cpu {

template <typename scalar_t>
void limit(const LimitOptions& options, const LimitRows<scalar_t>& rows);

// out [N, C] = draws of unit scale.
void limit_noise(const NoiseKey& key, int64_t N, int64_t C, NoiseKind kind, double* out);

}  // namespace cpu

namespace cuda {

// As on the CPU, with device pointers, on `stream`; nothing is allocated or waited for. nullptr, or what the CUDA
// runtime said.
template <typename scalar_t>
const char* limit(const LimitOptions& options, const LimitRows<scalar_t>& rows, void* stream);
const char* limit_noise(const NoiseKey& key, int64_t N, int64_t C, NoiseKind kind, double* out, void* stream);

}  // namespace cuda

}  // namespace infotorch
