// limit for any target and any weights: with r of Slope,
//   dL/du = w (r - r . s),  aux_grad = u (dL/du - u . dL/du)
#pragma once

#include <cmath>

#include "exp.h"
#include "limit_lanes.h"

namespace infotorch::cpu {

template <bool weighted, typename scalar_t>
INFOTORCH_INLINE RowResults<scalar_t> general_row_lanes(const LimitOptions& options, scalar_t z_top, scalar_t v_top,
                                                        const RowMemory<scalar_t>& row, const RowOut<scalar_t>& mu_out,
                                                        const RowOut<scalar_t>& aux_out) {
  using vector_t = Vector<scalar_t>;
  const vector_t none = {}, one = none + scalar_t(1);
  const Slope<scalar_t> slope(options.match, options.beta);

  double total[6] = {};
  sums<6, scalar_t>(row.padded, total, [&](int64_t c, vector_t* sum) {
    const vector_t z = load<vector_t>(row.z + c) - z_top, v = load<vector_t>(row.v + c) - v_top;
    const vector_t s = exp_lanes<scalar_t>(z), u = exp_lanes<scalar_t>(v), t = load<vector_t>(row.t + c);
    const vector_t wt = weighted ? load<vector_t>(row.w + c) * t : t;
    store(row.z + c, s);
    store(row.v + c, u);
    sum[0] += s;
    sum[1] += u;
    sum[2] += weighted ? load<vector_t>(row.w + c) * u : u;
    sum[3] += wt;
    sum[4] += wt > none ? wt * z : none;  // 0 * inf is 0 for a class that is masked
    sum[5] += wt > none ? wt * v : none;
  });
  const scalar_t z_scale = 1 / total[0], v_scale = 1 / total[1];
  const scalar_t wu = weighted ? total[2] / total[1] : 1, wt = total[3];

  struct Numbers {
    vector_t s, u, wt, off, d, mu, r;  // off = u - t, d = g - mu
  };
  const auto numbers = [&](int64_t c) {
    Numbers x;
    x.s = load<vector_t>(row.z + c) * z_scale;
    x.u = load<vector_t>(row.v + c) * v_scale;
    x.wt = load<vector_t>(row.t + c);
    x.off = x.u - x.wt;
    x.d = x.off;
    x.mu = x.s - x.u;
    if constexpr (weighted) {
      const vector_t w = load<vector_t>(row.w + c);
      x.wt *= w;
      x.d = w * x.off - (wu - wt) * x.s;
      x.mu = wu * x.s - w * x.u;
    }
    const vector_t sign = (x.d > none ? one : none) - (x.d < none ? one : none);
    x.r = slope.square * x.d + slope.sign * sign - slope.pen * x.mu;
    return x;
  };

  double inner[2] = {};
  sums<2, scalar_t>(row.padded, inner, [&](int64_t c, vector_t* sum) {
    const Numbers x = numbers(c);
    if constexpr (weighted) {
      sum[0] += x.s * x.r;
      sum[1] += load<vector_t>(row.w + c) * x.u * x.r;
    } else {
      sum[1] += x.u * x.r;
    }
  });
  const scalar_t along_s = inner[0], along_u = inner[1] - inner[0] * wu;

  double squares[4] = {};
  sums<4, scalar_t>(row.padded, squares, [&](int64_t c, vector_t* sum) {
    const Numbers x = numbers(c);
    vector_t du = x.r;
    if constexpr (weighted) du = load<vector_t>(row.w + c) * (x.r - along_s);
    store(mu_out.at(c), x.mu);
    store(aux_out.at(c), x.u * (du - along_u) + slope.ce * (wt * x.u - x.wt));
    sum[0] += x.d * x.d;
    sum[1] += x.d < none ? -x.d : x.d;
    sum[2] += x.mu * x.mu;
    sum[3] += x.off * x.off;
  });
  const double ce = wt * std::log(total[0]) - total[4], aux_ce = wt * std::log(total[1]) - total[5];
  const double match = options.match == LimitMatch::gaussian  ? squares[0]
                       : options.match == LimitMatch::laplace ? squares[1]
                                                              : aux_ce;
  return {static_cast<scalar_t>(match), static_cast<scalar_t>(squares[2]), static_cast<scalar_t>(ce),
          static_cast<scalar_t>(std::sqrt(squares[3]))};
}

}  // namespace infotorch::cpu
