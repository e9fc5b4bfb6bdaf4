#include "limit_row.h"

#include <limits>

#include "limit_general.h"
#include "limit_plain.h"

namespace infotorch::cpu {
namespace {

template <typename scalar_t>
constexpr scalar_t kLowest = -std::numeric_limits<scalar_t>::infinity();

template <typename scalar_t, typename stored_t>
INFOTORCH_INLINE Top<scalar_t> copy_and_top_lanes(const stored_t* x, int64_t C, scalar_t* to) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t whole = C / lanes * lanes;
  vector_t most = vector_t{} + kLowest<scalar_t>;
  Mask<scalar_t> here = places<scalar_t>(), at = here;
  if (whole < C) {
    store(to + whole, most);
    for (int64_t c = whole; c < C; ++c) to[c] = widen(x[c]);
  }
  for (int64_t c = 0; c < C; c += lanes) {
    vector_t value;
    if (c < whole)
      store(to + c, value = load<vector_t>(x + c));
    else
      value = load<vector_t>(to + c);
    at = value > most ? here : at;
    most = value > most ? value : most;
    here += lanes;
  }
  scalar_t value[lanes];
  Place<scalar_t> place[lanes];
  store(value, most);
  store(place, at);
  Top<scalar_t> top = {value[0], place[0]};
  for (int64_t l = 1; l < lanes; ++l)
    if (value[l] > top.value || (value[l] == top.value && place[l] < top.at)) top = {value[l], place[l]};
  return top;
}

template <typename scalar_t, typename stored_t>
INFOTORCH_INLINE void narrow_row_lanes(const scalar_t* x, int64_t C, stored_t* to) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t c = 0;
  for (; c + lanes <= C; c += lanes) store(to + c, load<Vector<scalar_t>>(x + c));
  for (; c < C; ++c) narrow(x[c], to + c);
}

template <typename scalar_t>
INFOTORCH_INLINE void short_rows_lanes(const LimitOptions& options, ShortRows<scalar_t>& rows) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  RowsInLanes<scalar_t> some = {rows.z, rows.v, rows.C * lanes, {}, {}, {}};
  some.z_top = some.v_top = vector_t{} + kLowest<scalar_t>;
  Mask<scalar_t> z_at = {}, v_at = {};
  for (int64_t c = 0; c < rows.C; ++c) {
    const vector_t z = load<vector_t>(rows.z + c * lanes), v = load<vector_t>(rows.v + c * lanes);
    const Mask<scalar_t> here = Mask<scalar_t>{} + static_cast<Place<scalar_t>>(c);
    z_at = z > some.z_top ? here : z_at;
    v_at = v > some.v_top ? here : v_at;
    some.z_top = z > some.z_top ? z : some.z_top;
    some.v_top = v > some.v_top ? v : some.v_top;
  }
  for (int64_t l = 0; l < lanes; ++l) some.label[l] = static_cast<Place<scalar_t>>(rows.label[l]);
  const RowOut<scalar_t> mu = {rows.z, nullptr, rows.C * lanes}, aux_grad = {rows.v, nullptr, rows.C * lanes};
  const RowResults<vector_t> all = plain_rows(options, some, mu, aux_grad);
  for (int64_t l = 0; l < lanes; ++l) {
    rows.z_top[l] = {some.z_top[l], z_at[l]};
    rows.v_top[l] = {some.v_top[l], v_at[l]};
    rows.results[l] = {all.match[l], all.pen[l], all.ce[l], all.dist[l]};
  }
}

}  // namespace

// Overloads, because a template can't be cloned.
#define INFOTORCH_STORED(scalar_t, stored_t)                                                \
  INFOTORCH_CLONES Top<scalar_t> copy_and_top(const stored_t* x, int64_t C, scalar_t* to) { \
    return copy_and_top_lanes(x, C, to);                                                    \
  }
INFOTORCH_STORED(float, float)
INFOTORCH_STORED(float, BFloat16)
INFOTORCH_STORED(float, Float16)
INFOTORCH_STORED(double, double)

INFOTORCH_CLONES void narrow_row(const float* x, int64_t C, BFloat16* to) { narrow_row_lanes(x, C, to); }
INFOTORCH_CLONES void narrow_row(const float* x, int64_t C, Float16* to) { narrow_row_lanes(x, C, to); }

#define INFOTORCH_LIMIT_ROW(scalar_t)                                                                               \
  INFOTORCH_CLONES RowResults<scalar_t> plain_row(const LimitOptions& options, const RowMemory<scalar_t>& row,      \
                                                  int64_t label, Top<scalar_t> z_top, Top<scalar_t> v_top,          \
                                                  const RowOut<scalar_t>& mu, const RowOut<scalar_t>& aux_grad) {   \
    const ClassesInLanes<scalar_t> one = {row.z, row.v, row.padded, label, z_top.value, v_top.value};               \
    return plain_rows(options, one, mu, aux_grad);                                                                  \
  }                                                                                                                 \
  INFOTORCH_CLONES void short_rows(const LimitOptions& options, ShortRows<scalar_t>& rows) {                        \
    short_rows_lanes(options, rows);                                                                                \
  }                                                                                                                 \
  INFOTORCH_CLONES RowResults<scalar_t> general_row(const LimitOptions& options, const RowMemory<scalar_t>& row,    \
                                                    bool weighted, Top<scalar_t> z_top, Top<scalar_t> v_top,        \
                                                    const RowOut<scalar_t>& mu, const RowOut<scalar_t>& aux_grad) { \
    if (weighted) return general_row_lanes<true>(options, z_top.value, v_top.value, row, mu, aux_grad);             \
    return general_row_lanes<false>(options, z_top.value, v_top.value, row, mu, aux_grad);                          \
  }
INFOTORCH_LIMIT_ROW(float)
INFOTORCH_LIMIT_ROW(double)

}  // namespace infotorch::cpu
