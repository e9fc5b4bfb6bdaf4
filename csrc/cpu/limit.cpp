#include "../limit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../parallel.h"
#include "exp.h"
#include "simd.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBlock = 2048;  // numbers summed in scalar_t before float64 takes over
constexpr int64_t kGrain = 1 << 14;

template <typename scalar_t>
constexpr scalar_t kNaN = std::numeric_limits<scalar_t>::quiet_NaN();

// The weights of the terms of match's gradient in d, and of CE's in the auxiliary's logits.
template <typename scalar_t>
struct Terms {
  scalar_t square, sign, ce, pen;

  Terms(LimitMatch match, double beta)
      : square(match == LimitMatch::gaussian ? 2 : 0),
        sign(match == LimitMatch::laplace),
        ce(match == LimitMatch::ce),
        pen(static_cast<scalar_t>(2 * beta)) {}

  // The gradient of match + beta pen in d, taken as -mu; CE's is no function of it.
  template <typename number_t>
  INFOTORCH_INLINE number_t slope(number_t d, number_t mu) const {
    const number_t one = number_t{} + scalar_t(1), none = {};
    const number_t sign_of = (d > none ? one : none) - (d < none ? one : none);
    return d * square + sign_of * sign - mu * pen;
  }
};

// What a thread keeps of a row while it is worked on: whole vectors, zeros after C.
template <typename scalar_t>
struct Row {
  int64_t padded;
  std::vector<scalar_t> memory;
  scalar_t *z, *v, *t, *w, *noise;

  Row(int64_t C, const scalar_t* weight)
      : padded((C + kLanes<scalar_t> - 1) / kLanes<scalar_t> * kLanes<scalar_t>), memory(5 * padded) {
    z = memory.data();
    v = z + padded;
    t = v + padded;
    w = t + padded;
    noise = w + padded;
    if (weight != nullptr) std::copy(weight, weight + C, w);
  }
};

// Calls body(c, sum) for every vector of the row and adds the lanes of each of `count` sums.
template <int64_t count, typename scalar_t, typename Body>
INFOTORCH_INLINE void sums(int64_t padded, double (&total)[count], const Body& body) {
  for (int64_t c = 0; c < padded;) {
    Vector<scalar_t> sum[count] = {};
    for (const int64_t end = std::min(padded, c + kBlock); c < end; c += kLanes<scalar_t>) body(c, sum);
#pragma GCC unroll 7
    for (int64_t k = 0; k < count; ++k) total[k] += lane_sum<scalar_t>(sum[k]);
  }
}

template <typename scalar_t>
struct Top {
  scalar_t value;
  int64_t at;
};

// to = x, -inf after its C numbers; the largest of them, and where it is first. NaN is passed over.
template <typename scalar_t, typename stored_t>
INFOTORCH_INLINE Top<scalar_t> copy_and_top(const stored_t* x, int64_t C, scalar_t* to) {
  using vector_t = Vector<scalar_t>;
  typedef decltype(vector_t{} < vector_t{}) mask_t;
  constexpr int64_t lanes = kLanes<scalar_t>;
  constexpr scalar_t lowest = -std::numeric_limits<scalar_t>::infinity();
  vector_t most = vector_t{} + lowest;
  mask_t here, at;
#pragma GCC unroll 16
  for (int64_t l = 0; l < lanes; ++l) here[l] = l;
  at = here;
  for (int64_t c = 0; c < C; c += lanes, here += lanes) {
    vector_t value;
    if (c + lanes <= C) {
      value = load<vector_t>(x + c);
    } else {
      scalar_t rest[lanes];
      for (int64_t l = 0; l < lanes; ++l) rest[l] = c + l < C ? widen(x[c + l]) : lowest;
      value = load<vector_t>(rest);
    }
    store(to + c, value);
    at = value > most ? here : at;
    most = value > most ? value : most;
  }
  Top<scalar_t> top = {most[0], static_cast<int64_t>(at[0])};
  for (int64_t l = 1; l < lanes; ++l)
    if (most[l] > top.value || (most[l] == top.value && at[l] < top.at)) top = {most[l], static_cast<int64_t>(at[l])};
  return top;
}

template <typename scalar_t, typename stored_t>
INFOTORCH_INLINE void store_some(stored_t* x, const Vector<scalar_t>& value, int64_t size) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  if (size >= lanes) return store(x, value);
  scalar_t rest[lanes];
  store(rest, value);
  for (int64_t l = 0; l < size; ++l) narrow(rest[l], x + l);
}

// The row's target with smoothing in row.t; false if it is none.
template <typename scalar_t>
INFOTORCH_INLINE bool fill_target(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n,
                                  int64_t label, Row<scalar_t>& row) {
  const scalar_t keep = 1 - options.smoothing, spread = options.smoothing / rows.C;
  if (rows.labels != nullptr) {
    std::fill(row.t, row.t + rows.C, spread);
    row.t[label] += keep;
    return true;
  }
  const scalar_t* const t = rows.soft + n * rows.C;
  double total = 0;
  bool negative = false;
  for (int64_t c = 0; c < rows.C; ++c) {
    total += t[c];
    negative |= t[c] < 0;
    row.t[c] = keep * t[c] + spread;
  }
  return !negative && std::abs(total - 1) <= kTargetTolerance;
}

// Draws of the noise for one row.
template <typename scalar_t>
void fill_noise(const NoiseKey& key, int64_t n, int64_t C, NoiseKind kind, double scale, scalar_t* to) {
  double four[4];
  for (int64_t c = 0; c < C; c += 4) {
    draw_noise(key, key.id(n), c / 4, kind, four);
    for (int64_t k = 0; k < std::min<int64_t>(4, C - c); ++k) to[c + k] = static_cast<scalar_t>(scale * four[k]);
  }
}

template <typename scalar_t>
void noise_row(const LimitOptions& options, int64_t n, int64_t C, scalar_t* to) {
  fill_noise(options.noise, n, C, noise_kind(options.match), options.noise_scale, to);
}

template <typename scalar_t>
struct RowResults {
  scalar_t match, pen, ce, dist;
};

// Row n, which counts and has a target: in row.t if `dense`, else its label alone, one-hot. row.z and row.v hold its
// logits.
template <bool dense, bool weighted, typename stored_t, typename scalar_t>
INFOTORCH_INLINE RowResults<scalar_t> one_row(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n,
                                              int64_t label, const Top<scalar_t>& z_top, const Top<scalar_t>& v_top,
                                              Row<scalar_t>& row) {
  using vector_t = Vector<scalar_t>;
  typedef decltype(vector_t{} < vector_t{}) mask_t;
  constexpr int64_t lanes = kLanes<scalar_t>;
  const vector_t none = {};
  const Terms<scalar_t> terms(options.match, options.beta);
  const double z_label = dense ? 0 : row.z[label], v_label = dense ? 0 : row.v[label];
  mask_t place;
#pragma GCC unroll 16
  for (int64_t l = 0; l < lanes; ++l) place[l] = l;
  using place_t = std::decay_t<decltype(place[0])>;
  auto is_label = [&](int64_t c) { return place == static_cast<place_t>(label - c); };

  // Exponentials and their sums. Of v's there is one without the label's, so that 1 - u stays exact there, and one with
  // it, in an order that doesn't depend on the label: no bit of mu may.
  double total[7] = {};
  sums<7, scalar_t>(row.padded, total, [&](int64_t c, vector_t* sum) {
    const vector_t z = load<vector_t>(row.z + c) - z_top.value, v = load<vector_t>(row.v + c) - v_top.value;
    const vector_t s = exp_of<scalar_t>(z), u = exp_of<scalar_t>(v);
    store(row.z + c, s);
    store(row.v + c, u);
    sum[0] += s;
    sum[1] += u;
    if constexpr (!dense) sum[6] += is_label(c) ? none : u;
    if constexpr (weighted) sum[2] += load<vector_t>(row.w + c) * u;
    if constexpr (dense) {
      const vector_t t = load<vector_t>(row.t + c);
      const vector_t wt = weighted ? t * load<vector_t>(row.w + c) : t;
      sum[3] += wt;
      sum[4] += t > none ? wt * z : none;  // 0 * inf is 0 for a class that is masked
      sum[5] += t > none ? wt * v : none;
    }
  });
  const double z_sum = total[0], v_sum = total[1];
  const scalar_t z_scale = 1 / z_sum, v_scale = 1 / v_sum;
  const scalar_t w_label = dense || !weighted ? 1 : row.w[label];
  const scalar_t wu = weighted ? total[2] / v_sum : 1, wt = dense ? total[3] : w_label;
  const scalar_t at_label = -total[6] / v_sum;  // u - 1 there
  const double z_log = std::log(z_sum), v_log = std::log(v_sum);
  const double ce = dense ? wt * z_log - total[4] : w_label * (z_log - (z_label - z_top.value));
  const double aux_ce = dense ? wt * v_log - total[5] : w_label * (v_log - (v_label - v_top.value));

  struct Numbers {
    vector_t s, u, w, off, d, mu;  // off = u - t
  };
  auto numbers = [&](int64_t c) {
    Numbers x;
    x.s = load<vector_t>(row.z + c) * z_scale;
    x.u = load<vector_t>(row.v + c) * v_scale;
    x.off = dense ? x.u - load<vector_t>(row.t + c) : is_label(c) ? none + at_label : x.u;
    x.d = x.off;
    x.mu = x.s - x.u;
    if constexpr (weighted) {
      x.w = load<vector_t>(row.w + c);
      x.d = x.w * x.off - (wu - wt) * x.s;
      x.mu = wu * x.s - x.w * x.u;
    }
    return x;
  };

  // With r the slope: dL/du = w (r - r . s), and the softmax takes u . dL/du from it.
  double inner[2] = {};
  sums<2, scalar_t>(row.padded, inner, [&](int64_t c, vector_t* sum) {
    const Numbers x = numbers(c);
    const vector_t r = terms.slope(x.d, x.mu);
    if constexpr (weighted) sum[0] += x.s * r;
    sum[1] += weighted ? x.u * x.w * r : x.u * r;
  });
  const scalar_t along_s = inner[0], along_u = inner[1] - inner[0] * wu;

  const int64_t at = n * rows.C;
  auto *const inject = static_cast<stored_t*>(rows.inject) + at, *const aux_grad = static_cast<stored_t*>(rows.aux_grad) + at;
  auto* const sample = static_cast<stored_t*>(rows.sample) + (rows.sample == nullptr ? 0 : at);
  double squares[4] = {};
  sums<4, scalar_t>(row.padded, squares, [&](int64_t c, vector_t* sum) {
    const Numbers x = numbers(c);
    const vector_t r = terms.slope(x.d, x.mu), du = weighted ? x.w * (r - along_s) : r;
    vector_t of_ce = w_label * x.off;
    if constexpr (dense) of_ce = wt * x.u - (weighted ? x.w * load<vector_t>(row.t + c) : load<vector_t>(row.t + c));
    const int64_t left = rows.C - c;
    store_some<scalar_t>(inject + c, x.mu, left);
    store_some<scalar_t>(aux_grad + c, x.u * (du - along_u) + terms.ce * of_ce, left);
    if (rows.sample != nullptr) store_some<scalar_t>(sample + c, x.mu + load<vector_t>(row.noise + c), left);
    sum[0] += x.d * x.d;
    sum[1] += x.d < none ? -x.d : x.d;
    sum[2] += x.mu * x.mu;
    if constexpr (weighted) sum[3] += x.off * x.off;
  });
  const double match = options.match == LimitMatch::ce ? aux_ce : squares[options.match == LimitMatch::laplace];
  return {static_cast<scalar_t>(match), static_cast<scalar_t>(squares[2]), static_cast<scalar_t>(ce),
          static_cast<scalar_t>(std::sqrt(squares[weighted ? 3 : 0]))};
}


// The same of a single logit, whose weight is that of the positive class.
template <typename scalar_t>
struct SingleRow {
  scalar_t inject, aux_grad;
  RowResults<scalar_t> of_row;
};

// log(1 + exp x).
template <typename scalar_t>
scalar_t softplus(scalar_t x) {
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
}

template <typename scalar_t>
SingleRow<scalar_t> single_row(const LimitOptions& options, scalar_t z, scalar_t v, scalar_t t,
                               scalar_t p) {
  const Terms<scalar_t> terms(options.match, options.beta);
  t = scalar_t(1 - options.smoothing) * t + scalar_t(options.smoothing / 2);
  const scalar_t s = 1 / (1 + std::exp(-z)), not_s = 1 / (1 + std::exp(z));
  const scalar_t u = 1 / (1 + std::exp(-v)), not_u = 1 / (1 + std::exp(v));
  const scalar_t off = t > scalar_t(0.5) ? (1 - t) - not_u : u - t;  // u - t, exact near either end
  const scalar_t steep = s + p * not_s, d = steep * off, mu = s * (p * u + not_u) - p * u;
  const auto ce = [&](scalar_t x) {  // 0 * inf is 0
    return (t > 0 ? p * t * softplus(-x) : 0) + (t < 1 ? (1 - t) * softplus(x) : 0);
  };
  const scalar_t of_ce = u * (p * t + (1 - t)) - p * t;
  const scalar_t match = options.match == LimitMatch::ce        ? ce(v)
                         : options.match == LimitMatch::laplace ? std::abs(d)
                                                                : d * d;
  const scalar_t along = steep * terms.slope(d, mu) * u * not_u;
  return {mu, along + terms.ce * of_ce, {match, mu * mu, ce(z), std::abs(off)}};
}

template <typename scalar_t>
INFOTORCH_INLINE bool counts(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n) {
  return (rows.mask == nullptr || rows.mask[n]) && (rows.labels == nullptr || rows.labels[n] != options.ignore_index);
}

template <typename scalar_t>
INFOTORCH_INLINE void write(const LimitRows<scalar_t>& rows, int64_t n, const RowResults<scalar_t>& of_row) {
  rows.match[n] = of_row.match;
  rows.pen[n] = of_row.pen;
  rows.ce[n] = of_row.ce;
  rows.dist[n] = of_row.dist;
}

// Row n counts, but has no target: what the target is no part of stays.
template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void spoil(const LimitRows<scalar_t>& rows, int64_t n) {
  for (int64_t c = 0; c < rows.C; ++c)
    narrow(kNaN<scalar_t>, static_cast<stored_t*>(rows.aux_grad) + n * rows.C + c);
  rows.match[n] = rows.ce[n] = rows.dist[n] = kNaN<scalar_t>;
}

template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void ignore(const LimitRows<scalar_t>& rows, int64_t n) {
  for (void* const to : {rows.inject, rows.aux_grad, rows.sample})
    if (to != nullptr) std::fill_n(static_cast<stored_t*>(to) + n * rows.C, rows.C, stored_t{});
  write(rows, n, {});
}

template <bool dense, bool weighted, typename stored_t, typename scalar_t>
INFOTORCH_INLINE void some_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t begin,
                                int64_t end) {
  Row<scalar_t> row(rows.C, rows.weight);
  for (int64_t n = begin; n < end; ++n) {
    const auto* const z = static_cast<const stored_t*>(rows.logits) + n * rows.C;
    const auto* const v = static_cast<const stored_t*>(rows.aux_logits) + n * rows.C;
    const Top<scalar_t> z_top = copy_and_top(z, rows.C, row.z), v_top = copy_and_top(v, rows.C, row.v);
    rows.top[n] = z_top.at;
    rows.aux_top[n] = v_top.at;
    rows.valid[n] = counts(options, rows, n);
    if (!rows.valid[n]) {
      ignore<stored_t>(rows, n);
      continue;
    }
    const bool in_range = rows.labels == nullptr || (0 <= rows.labels[n] && rows.labels[n] < rows.C);
    const int64_t label = rows.labels != nullptr && in_range ? rows.labels[n] : 0;
    const bool good = in_range && (!dense || fill_target(options, rows, n, label, row));
    if (rows.sample != nullptr) noise_row(options, n, rows.C, row.noise);
    write(rows, n, one_row<dense, weighted, stored_t>(options, rows, n, label, z_top, v_top, row));
    if (!good) spoil<stored_t>(rows, n);
  }
}

template <typename stored_t, typename scalar_t>
INFOTORCH_INLINE void some_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t begin,
                                int64_t end) {
  const bool dense = rows.labels == nullptr || options.smoothing > 0;
  if (rows.weight != nullptr)
    dense ? some_rows<true, true, stored_t>(options, rows, begin, end)
          : some_rows<false, true, stored_t>(options, rows, begin, end);
  else
    dense ? some_rows<true, false, stored_t>(options, rows, begin, end)
          : some_rows<false, false, stored_t>(options, rows, begin, end);
}

// Overloads, because a template can't be cloned.
#define INFOTORCH_LIMIT(scalar_t, stored_t)                                                                     \
  INFOTORCH_CLONES void rows_stored_as(stored_t, const LimitOptions& options, const LimitRows<scalar_t>& rows, \
                                       int64_t begin, int64_t end) {                                           \
    some_rows<stored_t>(options, rows, begin, end);                                                            \
  }
INFOTORCH_LIMIT(float, float)
INFOTORCH_LIMIT(float, BFloat16)
INFOTORCH_LIMIT(float, Float16)
INFOTORCH_LIMIT(double, double)

template <typename stored_t, typename scalar_t>
void single_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t begin, int64_t end) {
  const scalar_t p = rows.weight == nullptr ? 1 : *rows.weight;
  for (int64_t n = begin; n < end; ++n) {
    const scalar_t z = widen(static_cast<const stored_t*>(rows.logits)[n]);
    const scalar_t v = widen(static_cast<const stored_t*>(rows.aux_logits)[n]);
    rows.top[n] = z > 0;
    rows.aux_top[n] = v > 0;
    rows.valid[n] = counts(options, rows, n);
    if (!rows.valid[n]) {
      ignore<stored_t>(rows, n);
      continue;
    }
    const scalar_t t = rows.labels == nullptr ? rows.soft[n] : static_cast<scalar_t>(rows.labels[n]);
    const bool good = rows.labels == nullptr ? 0 <= t && t <= 1 : rows.labels[n] == 0 || rows.labels[n] == 1;
    const SingleRow<scalar_t> row = single_row(options, z, v, t, p);
    narrow(row.inject, static_cast<stored_t*>(rows.inject) + n);
    narrow(row.aux_grad, static_cast<stored_t*>(rows.aux_grad) + n);
    if (rows.sample != nullptr) {
      scalar_t noise;
      noise_row(options, n, 1, &noise);
      narrow(row.inject + noise, static_cast<stored_t*>(rows.sample) + n);
    }
    write(rows, n, row.of_row);
    if (!good) spoil<stored_t>(rows, n);
  }
}

template <typename stored_t, typename scalar_t>
void all_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows) {
  parallel_for(rows.N, std::max<int64_t>(1, kGrain / rows.C), [&](int64_t begin, int64_t end) {
    if (rows.C == 1) return single_rows<stored_t>(options, rows, begin, end);
    rows_stored_as(stored_t{}, options, rows, begin, end);
  });
}

}  // namespace

template <>
void limit(const LimitOptions& options, const LimitRows<float>& rows) {
  if (rows.storage == Storage::bfloat16) return all_rows<BFloat16>(options, rows);
  if (rows.storage == Storage::float16) return all_rows<Float16>(options, rows);
  all_rows<float>(options, rows);
}

template <>
void limit(const LimitOptions& options, const LimitRows<double>& rows) {
  all_rows<double>(options, rows);
}

void limit_noise(const NoiseKey& key, int64_t N, int64_t C, NoiseKind kind, double* out) {
  parallel_for(N, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, C)), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) fill_noise(key, n, C, kind, 1, out + n * C);
  });
}

}  // namespace infotorch::cpu
