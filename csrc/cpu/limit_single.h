// limit for a single logit a row: sigmoids in the place of softmaxes.
#pragma once

#include <cmath>

#include "limit_lanes.h"

namespace infotorch::cpu {

template <typename scalar_t>
struct SingleRow {
  scalar_t inject, aux_grad;
  RowResults<scalar_t> results;
};

// log(1 + exp x).
template <typename scalar_t>
scalar_t softplus(scalar_t x) {
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
}

// Of logits z and v, target t and p, the weight of the positive class.
template <typename scalar_t>
SingleRow<scalar_t> single_row(const LimitOptions& options, scalar_t z, scalar_t v, scalar_t t, scalar_t p) {
  const Slope<scalar_t> slope(options.match, options.beta);
  t = scalar_t(1 - options.smoothing) * t + scalar_t(options.smoothing / 2);
  const scalar_t s = 1 / (1 + std::exp(-z)), not_s = 1 / (1 + std::exp(z));
  const scalar_t u = 1 / (1 + std::exp(-v)), not_u = 1 / (1 + std::exp(v));
  const scalar_t off = t > scalar_t(0.5) ? (1 - t) - not_u : u - t;  // u - t, exact near either end
  const scalar_t steep = s + p * not_s, d = steep * off, mu = s * (p * u + not_u) - p * u;
  const scalar_t sign = (d > 0) - (d < 0);
  const scalar_t r = slope.square * d + slope.sign * sign - slope.pen * mu;
  const auto ce = [&](scalar_t x) {  // 0 * inf is 0
    return (t > 0 ? p * t * softplus(-x) : 0) + (t < 1 ? (1 - t) * softplus(x) : 0);
  };
  const scalar_t match = options.match == LimitMatch::gaussian  ? d * d
                         : options.match == LimitMatch::laplace ? std::abs(d)
                                                                : ce(v);
  const scalar_t of_ce = u * (p * t + (1 - t)) - p * t;
  return {mu, steep * r * u * not_u + slope.ce * of_ce, {match, mu * mu, ce(z), std::abs(off)}};
}

}  // namespace infotorch::cpu
