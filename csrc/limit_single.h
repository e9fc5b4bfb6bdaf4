// limit for a single logit a row: sigmoids in the place of softmaxes. Plain C++ for host and device.
#pragma once

#include <cmath>

#include "limit.h"

namespace infotorch {

// The gradient of match + beta pen is r in the direction of d = g - mu:  r = square d + sign sgn(d) - pen mu. That of
// cross-entropy comes beside it.
template <typename scalar_t>
struct Slope {
  scalar_t square, sign, ce, pen;

  INFOTORCH_HOST_DEVICE Slope(LimitMatch match, double beta)
      : square(match == LimitMatch::gaussian ? 2 : 0),
        sign(match == LimitMatch::laplace),
        ce(match == LimitMatch::ce),
        pen(static_cast<scalar_t>(2 * beta)) {}

  INFOTORCH_HOST_DEVICE scalar_t operator()(scalar_t d, scalar_t mu) const {
    return square * d + sign * static_cast<scalar_t>((d > 0) - (d < 0)) - pen * mu;
  }
};

template <typename number_t>
struct RowResults {
  number_t match, pen, ce, dist;
};

template <typename scalar_t>
struct SingleRow {
  scalar_t inject, aux_grad;
  RowResults<scalar_t> results;
};

INFOTORCH_HOST_DEVICE inline float exp_of(float x) { return expf(x); }
INFOTORCH_HOST_DEVICE inline double exp_of(double x) { return exp(x); }
INFOTORCH_HOST_DEVICE inline float log_of(float x) { return logf(x); }
INFOTORCH_HOST_DEVICE inline double log_of(double x) { return log(x); }
INFOTORCH_HOST_DEVICE inline float root_of(float x) { return sqrtf(x); }
INFOTORCH_HOST_DEVICE inline double root_of(double x) { return sqrt(x); }

// log(1 + exp x).
INFOTORCH_HOST_DEVICE inline float softplus(float x) { return (x > 0 ? x : 0) + log1pf(expf(x < 0 ? x : -x)); }
INFOTORCH_HOST_DEVICE inline double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(x < 0 ? x : -x)); }

// Of logits z and v, target t and p, the weight of the positive class.
template <typename scalar_t>
INFOTORCH_HOST_DEVICE SingleRow<scalar_t> single_row(const LimitOptions& options, scalar_t z, scalar_t v, scalar_t t,
                                                     scalar_t p) {
  const Slope<scalar_t> slope(options.match, options.beta);
  t = scalar_t(1 - options.smoothing) * t + scalar_t(options.smoothing / 2);
  const scalar_t s = 1 / (1 + exp_of(-z)), not_s = 1 / (1 + exp_of(z));
  const scalar_t u = 1 / (1 + exp_of(-v)), not_u = 1 / (1 + exp_of(v));
  const scalar_t off = t > scalar_t(0.5) ? (1 - t) - not_u : u - t;  // u - t, exact near either end
  const scalar_t steep = s + p * not_s, d = steep * off, mu = s * (p * u + not_u) - p * u;
  const scalar_t of_ce = u * (p * t + (1 - t)) - p * t;
  const scalar_t aux_grad = steep * slope(d, mu) * u * not_u + slope.ce * of_ce;
  const auto ce = [&](scalar_t x) {  // 0 * inf is 0
    return (t > 0 ? p * t * softplus(-x) : scalar_t(0)) + (t < 1 ? (1 - t) * softplus(x) : scalar_t(0));
  };
  const scalar_t match = options.match == LimitMatch::gaussian  ? d * d
                         : options.match == LimitMatch::laplace ? (d < 0 ? -d : d)
                                                                : ce(v);
  return {mu, aux_grad, {match, mu * mu, ce(z), off < 0 ? -off : off}};
}

}  // namespace infotorch
