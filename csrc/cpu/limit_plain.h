// limit for one label a row and no weights, where the match and the gradients' sums have closed forms: with y the
// label, s and u the softmaxes and mu = s - u,
//   g - mu = u off the label and u_y - 1 on it, which is minus the sum of the others
//   aux_grad_c = u_c (r_c - sum_j u_j r_j), r of Slope
// One body for both layouts: the classes of a row in the lanes, and rows in the lanes where the classes are few.
#pragma once

#include <cmath>

#include "exp.h"
#include "limit_lanes.h"

namespace infotorch::cpu {

// A row whose classes lie in the lanes.
template <typename scalar_t>
struct ClassesInLanes {
  using number_t = scalar_t;  // of a row
  static constexpr int64_t kStep = kLanes<scalar_t>;

  scalar_t *z, *v;  // [padded]
  int64_t padded, label;
  scalar_t z_top, v_top;

  INFOTORCH_INLINE Mask<scalar_t> is_label(int64_t c) const {
    return places<scalar_t>() == static_cast<Place<scalar_t>>(label - c);
  }
  INFOTORCH_INLINE scalar_t at_label(const scalar_t* x) const { return x[label]; }
  INFOTORCH_INLINE void put_at_label(const RowOut<scalar_t>& out, scalar_t x) const {
    out.at(label / kStep * kStep)[label % kStep] = x;
  }

  template <int64_t count, typename Body>
  INFOTORCH_INLINE void add_up(scalar_t (&total)[count], const Body& body) const {
    double all[count] = {};
    sums<count, scalar_t>(padded, all, body);
#pragma GCC unroll 6
    for (int64_t k = 0; k < count; ++k) total[k] = static_cast<scalar_t>(all[k]);
  }
  INFOTORCH_INLINE static scalar_t log(scalar_t x) { return std::log(x); }
  INFOTORCH_INLINE static scalar_t root(scalar_t x) { return std::sqrt(x); }
};

// As many rows as there are lanes, [C, lanes].
template <typename scalar_t>
struct RowsInLanes {
  using number_t = Vector<scalar_t>;
  static constexpr int64_t kStep = kLanes<scalar_t>;

  scalar_t *z, *v;
  int64_t padded;  // C lanes
  Mask<scalar_t> label;
  number_t z_top, v_top;

  INFOTORCH_INLINE Mask<scalar_t> is_label(int64_t c) const { return label == static_cast<Place<scalar_t>>(c / kStep); }
  INFOTORCH_INLINE number_t at_label(const scalar_t* x) const {
    number_t y;
    for (int64_t l = 0; l < kStep; ++l) y[l] = x[label[l] * kStep + l];
    return y;
  }
  INFOTORCH_INLINE void put_at_label(const RowOut<scalar_t>& out, const number_t& x) const {
    for (int64_t l = 0; l < kStep; ++l) out.row[label[l] * kStep + l] = x[l];
  }

  template <int64_t count, typename Body>
  INFOTORCH_INLINE void add_up(number_t (&total)[count], const Body& body) const {
#pragma GCC unroll 6
    for (int64_t k = 0; k < count; ++k) total[k] = number_t{};
    for (int64_t c = 0; c < padded; c += kStep) body(c, total);
  }
  INFOTORCH_INLINE static number_t log(number_t x) {
    for (int64_t l = 0; l < kStep; ++l) x[l] = std::log(x[l]);
    return x;
  }
  INFOTORCH_INLINE static number_t root(number_t x) {
    for (int64_t l = 0; l < kStep; ++l) x[l] = std::sqrt(x[l]);
    return x;
  }
};

// rows.z and rows.v hold logits; mu and aux_grad may be the same memory.
template <typename Rows, typename scalar_t>
INFOTORCH_INLINE RowResults<typename Rows::number_t> plain_rows(const LimitOptions& options, const Rows& rows,
                                                                const RowOut<scalar_t>& mu_out,
                                                                const RowOut<scalar_t>& aux_out) {
  using vector_t = Vector<scalar_t>;
  using number_t = typename Rows::number_t;
  const vector_t none = {};
  const Slope<scalar_t> slope(options.match, options.beta);
  const number_t z_label = rows.at_label(rows.z) - rows.z_top, v_label = rows.at_label(rows.v) - rows.v_top;

  // Of v's exponentials there is a sum without the label's, so that 1 - u stays exact there, and one with it, in an
  // order that doesn't depend on the label: no bit of mu may.
  number_t total[5];
  rows.add_up(total, [&](int64_t c, vector_t* sum) {
    const vector_t s = exp_lanes<scalar_t>(load<vector_t>(rows.z + c) - rows.z_top);
    const vector_t u = exp_lanes<scalar_t>(load<vector_t>(rows.v + c) - rows.v_top);
    const vector_t other = rows.is_label(c) ? none : u;
    store(rows.z + c, s);
    store(rows.v + c, u);
    sum[0] += s;
    sum[1] += u;
    sum[2] += other;
    sum[3] += other * other;
    sum[4] += s * u;
  });
  const number_t z_scale = 1 / total[0], v_scale = 1 / total[1];
  const number_t s = rows.at_label(rows.z) * z_scale, u = rows.at_label(rows.v) * v_scale;  // the label's
  const number_t rest = total[2] * v_scale, squares = total[3] * v_scale * v_scale;         // of the others
  const number_t su = total[4] * z_scale * v_scale;
  const number_t sure = u - u, one = sure + 1;
  const number_t below = rest > sure ? one : sure;  // -sgn(u - 1)
  const number_t along =
      slope.square * (squares - u * rest) + slope.sign * (rest - u * below) - slope.pen * (su - squares - u * u);
  const number_t constant = slope.sign + slope.ce - along;
  const number_t at_label =
      u * (-slope.square * rest - slope.sign * below - slope.pen * (s - u) - along) - slope.ce * rest;

  number_t pen[1];
  rows.add_up(pen, [&](int64_t c, vector_t* sum) {
    const vector_t u = load<vector_t>(rows.v + c) * v_scale, mu = load<vector_t>(rows.z + c) * z_scale - u;
    store(mu_out.at(c), mu);
    store(aux_out.at(c), u * (slope.square * u - slope.pen * mu + constant));
    sum[0] += mu * mu;
  });
  rows.put_at_label(aux_out, at_label);
  const number_t distance = squares + rest * rest;
  const number_t match = options.match == LimitMatch::gaussian  ? distance
                         : options.match == LimitMatch::laplace ? 2 * rest
                                                                : Rows::log(total[1]) - v_label;
  return {match, pen[0], Rows::log(total[0]) - z_label, Rows::root(distance)};
}

}  // namespace infotorch::cpu
