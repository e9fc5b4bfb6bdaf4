// A row is read once from memory and stays in the cache for all that is done with it: the backward pass makes again
// what the forward pass had, because keeping it would cost two more passes over memory.

#include "member_norm.h"

#include <cmath>

#include "../parallel.h"
#include "simd.h"

namespace infotorch::cpu {
namespace {

// The sum over k < size of term(whole vector at k) or, beyond the last one, of term(one number at k).
template <typename scalar_t, typename Term>
INFOTORCH_INLINE double sum_of(int64_t size, const Term& term) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  vector_t sum[2] = {};  // one after the other, so that neither waits for itself
  int64_t k = 0;
  for (; k + 2 * lanes <= size; k += 2 * lanes) {
    sum[0] += term(k, vector_t{});
    sum[1] += term(k + lanes, vector_t{});
  }
  for (; k + lanes <= size; k += lanes) sum[0] += term(k, vector_t{});
  double total = lane_sum<scalar_t>(sum[0] + sum[1]);
  for (; k < size; ++k) total += term(k, scalar_t{});
  return total;
}

template <typename scalar_t, typename Value>
INFOTORCH_INLINE void write(int64_t size, scalar_t* to, const Value& value) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t k = 0;
  for (; k + lanes <= size; k += lanes) store(to + k, value(k, Vector<scalar_t>{}));
  for (; k < size; ++k) to[k] = value(k, scalar_t{});
}

// Numbers from x on, as many as `kind` has.
template <typename scalar_t>
INFOTORCH_INLINE Vector<scalar_t> some(const scalar_t* x, Vector<scalar_t>) {
  return load<Vector<scalar_t>>(x);
}
template <typename scalar_t>
INFOTORCH_INLINE scalar_t some(const scalar_t* x, scalar_t) {
  return *x;
}

template <typename scalar_t>
INFOTORCH_INLINE void forward_row(const MemberNorm& s, const scalar_t* x, scalar_t weight, scalar_t bias, scalar_t* y,
                                  scalar_t* mean_out, scalar_t* var_out) {
  const scalar_t mean = sum_of<scalar_t>(s.size, [&](int64_t k, auto kind) { return some(x + k, kind); }) / s.size;
  const scalar_t var = sum_of<scalar_t>(s.size,
                                        [&](int64_t k, auto kind) {
                                          const auto centred = some(x + k, kind) - mean;
                                          return centred * centred;
                                        }) /
                       s.size;
  const scalar_t factor = weight / std::sqrt(var + s.eps);
  write(s.size, y, [&](int64_t k, auto kind) {
    const decltype(kind) value = (some(x + k, kind) - mean) * factor + bias;
    return s.relu ? (value <= 0 ? kind : value) : value;
  });
  *mean_out = mean;
  *var_out = var;
}

template <typename scalar_t>
INFOTORCH_INLINE void backward_row(const MemberNorm& s, const scalar_t* x, scalar_t weight, scalar_t bias,
                                   scalar_t mean, scalar_t var, const scalar_t* dy, scalar_t* dx, scalar_t* dweight,
                                   scalar_t* dbias) {
  const scalar_t scale = 1 / std::sqrt(var + s.eps), factor = weight / std::sqrt(var + s.eps);
  const auto upstream = [&](int64_t k, auto kind, auto centred) {
    const decltype(kind) value = centred * factor + bias, g = some(dy + k, kind);
    return s.relu ? (value <= 0 ? kind : g) : g;
  };
  const double shifts = sum_of<scalar_t>(s.size, [&](int64_t k, auto kind) {
    const decltype(kind) centred = some(x + k, kind) - mean;
    return upstream(k, kind, centred);
  });
  const double scales = sum_of<scalar_t>(s.size, [&](int64_t k, auto kind) {
    const decltype(kind) centred = some(x + k, kind) - mean;
    return upstream(k, kind, centred) * centred;
  });
  const scalar_t shift = shifts / s.size, slope = scales * scale * scale / s.size;
  write(s.size, dx, [&](int64_t k, auto kind) {
    const decltype(kind) centred = some(x + k, kind) - mean;
    return (upstream(k, kind, centred) - shift - centred * slope) * factor;
  });
  *dweight = scales * scale;
  *dbias = shifts;
}

// Overloads, because a template can't be cloned.
#define INFOTORCH_NORM(scalar_t)                                                                                     \
  INFOTORCH_CLONES void forward(const MemberNorm& s, const scalar_t* x, scalar_t weight, scalar_t bias, scalar_t* y, \
                                scalar_t* mean, scalar_t* var) {                                                     \
    forward_row(s, x, weight, bias, y, mean, var);                                                                   \
  }                                                                                                                  \
  INFOTORCH_CLONES void backward(const MemberNorm& s, const scalar_t* x, scalar_t weight, scalar_t bias,             \
                                 scalar_t mean, scalar_t var, const scalar_t* dy, scalar_t* dx, scalar_t* dweight,   \
                                 scalar_t* dbias) {                                                                  \
    backward_row(s, x, weight, bias, mean, var, dy, dx, dweight, dbias);                                             \
  }
INFOTORCH_NORM(float)
INFOTORCH_NORM(double)

}  // namespace

template <typename scalar_t>
void member_norm(const MemberNorm& s, const scalar_t* x, const scalar_t* weight, const scalar_t* bias, scalar_t* y,
                 scalar_t* mean, scalar_t* var) {
  parallel_for(s.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      forward(s, x + r * s.size, weight[r], bias[r], y + r * s.size, mean + r, var + r);
  });
}

template <typename scalar_t>
void member_norm_dx(const MemberNorm& s, const scalar_t* x, const scalar_t* weight, const scalar_t* bias,
                    const scalar_t* mean, const scalar_t* var, const scalar_t* dy, scalar_t* dx, scalar_t* dweight,
                    scalar_t* dbias) {
  parallel_for(s.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      backward(s, x + r * s.size, weight[r], bias[r], mean[r], var[r], dy + r * s.size, dx + r * s.size, dweight + r,
               dbias + r);
  });
}

template void member_norm(const MemberNorm&, const float*, const float*, const float*, float*, float*, float*);
template void member_norm(const MemberNorm&, const double*, const double*, const double*, double*, double*, double*);
template void member_norm_dx(const MemberNorm&, const float*, const float*, const float*, const float*, const float*,
                             const float*, float*, float*, float*);
template void member_norm_dx(const MemberNorm&, const double*, const double*, const double*, const double*,
                             const double*, const double*, double*, double*, double*);

}  // namespace infotorch::cpu
