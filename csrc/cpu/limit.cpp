#include "../limit.h"

#include <cmath>
#include <limits>

#include "../parallel.h"
#include "limit_row.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;  // numbers that are worth a thread
constexpr int64_t kFewClasses = 64;  // up to so many, rows lie in the lanes

// Runs body(where row n of x [N, C] begins), as it is stored.
template <typename scalar_t, typename Body>
void at_row(const LimitRows<scalar_t>& rows, const void* x, int64_t n, const Body& body) {
  if constexpr (std::is_same_v<scalar_t, float>) {
    if (rows.storage == Storage::bfloat16) return body(static_cast<const BFloat16*>(x) + n * rows.C);
    if (rows.storage == Storage::float16) return body(static_cast<const Float16*>(x) + n * rows.C);
  }
  body(static_cast<const scalar_t*>(x) + n * rows.C);
}

template <typename scalar_t, typename Body>
void at_row(const LimitRows<scalar_t>& rows, void* x, int64_t n, const Body& body) {
  at_row(rows, static_cast<const void*>(x), n,
         [&](const auto* row) { body(const_cast<std::remove_const_t<std::remove_pointer_t<decltype(row)>>*>(row)); });
}

template <typename scalar_t>
bool counts(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n) {
  return (rows.mask == nullptr || rows.mask[n]) && (rows.labels == nullptr || rows.labels[n] != options.ignore_index);
}

// The label of row n, or 0 where it is soft or none.
template <typename scalar_t>
int64_t label_of(const LimitRows<scalar_t>& rows, int64_t n) {
  return rows.labels != nullptr && 0 <= rows.labels[n] && rows.labels[n] < rows.C ? rows.labels[n] : 0;
}

template <typename scalar_t>
void put(const LimitRows<scalar_t>& rows, int64_t n, const RowResults<scalar_t>& results) {
  rows.match[n] = results.match;
  rows.pen[n] = results.pen;
  rows.ce[n] = results.ce;
  rows.dist[n] = results.dist;
}

template <typename scalar_t>
void fill(const LimitRows<scalar_t>& rows, void* x, int64_t n, scalar_t value) {
  at_row(rows, x, n, [&](auto* to) {
    for (int64_t c = 0; c < rows.C; ++c) narrow(value, to + c);
  });
}

template <typename scalar_t>
void ignore(const LimitRows<scalar_t>& rows, int64_t n) {
  for (void* const to : {rows.inject, rows.aux_grad, rows.sample})
    if (to != nullptr) fill(rows, to, n, scalar_t(0));
  put(rows, n, {});
}

// Row n counts, but has no target: what a target is part of is NaN.
template <typename scalar_t>
void spoil(const LimitRows<scalar_t>& rows, int64_t n) {
  constexpr scalar_t nan = std::numeric_limits<scalar_t>::quiet_NaN();
  fill(rows, rows.aux_grad, n, nan);
  rows.match[n] = rows.ce[n] = rows.dist[n] = nan;
}

// sample = mu + noise; mu [C] as it is computed.
template <typename scalar_t>
void draw_sample(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n, const scalar_t* mu,
                 scalar_t* noise) {
  if (rows.sample == nullptr) return;
  fill_noise(options.noise, n, rows.C, noise_kind(options.match), options.noise_scale, noise);
  at_row(rows, rows.sample, n, [&](auto* to) {
    for (int64_t c = 0; c < rows.C; ++c) narrow(mu[c] + noise[c], to + c);
  });
}

// The target of row n, smoothed; false if it is none.
template <typename scalar_t>
bool fill_target(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n, scalar_t* to) {
  const scalar_t keep = 1 - options.smoothing, spread = options.smoothing / rows.C;
  if (rows.labels != nullptr) {
    const int64_t label = label_of(rows, n);
    std::fill(to, to + rows.C, spread);
    to[label] += keep;
    return label == rows.labels[n];
  }
  const scalar_t* const t = rows.soft + n * rows.C;
  double total = 0;
  bool negative = false;
  for (int64_t c = 0; c < rows.C; ++c) {
    total += t[c];
    negative |= t[c] < 0;
    to[c] = keep * t[c] + spread;
  }
  return !negative && std::abs(total - 1) <= kTargetTolerance;
}

// One row after the other.
template <typename scalar_t>
void long_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, bool plain, int64_t begin, int64_t end) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  const bool same = rows.storage == Storage::same;
  RowMemory<scalar_t> row(rows.C, rows.weight);
  const int64_t whole = same ? rows.C / lanes * lanes : row.padded;
  scalar_t mu_rest[lanes], aux_rest[lanes];
  for (int64_t n = begin; n < end; ++n) {
    Top<scalar_t> z_top, v_top;
    at_row(rows, rows.logits, n, [&](const auto* x) { z_top = copy_and_top(x, rows.C, row.z); });
    at_row(rows, rows.aux_logits, n, [&](const auto* x) { v_top = copy_and_top(x, rows.C, row.v); });
    rows.top[n] = z_top.at;
    rows.aux_top[n] = v_top.at;
    rows.valid[n] = counts(options, rows, n);
    if (!rows.valid[n]) {
      ignore(rows, n);
      continue;
    }
    const RowOut<scalar_t> mu = {same ? static_cast<scalar_t*>(rows.inject) + n * rows.C : row.z, mu_rest, whole};
    const RowOut<scalar_t> aux = {same ? static_cast<scalar_t*>(rows.aux_grad) + n * rows.C : row.v, aux_rest, whole};
    bool good;
    if (plain) {
      const int64_t label = label_of(rows, n);
      good = label == rows.labels[n];
      put(rows, n, plain_row(options, row, label, z_top, v_top, mu, aux));
    } else {
      good = fill_target(options, rows, n, row.t);
      put(rows, n, general_row(options, row, rows.weight != nullptr, z_top, v_top, mu, aux));
    }
    if (same) {
      std::copy(mu_rest, mu_rest + rows.C - whole, mu.row + whole);
      std::copy(aux_rest, aux_rest + rows.C - whole, aux.row + whole);
    } else if constexpr (std::is_same_v<scalar_t, float>) {
      const auto narrow_all = [&](auto* inject, auto* aux_grad) {
        narrow_row(row.z, rows.C, inject + n * rows.C);
        narrow_row(row.v, rows.C, aux_grad + n * rows.C);
      };
      if (rows.storage == Storage::bfloat16)
        narrow_all(static_cast<BFloat16*>(rows.inject), static_cast<BFloat16*>(rows.aux_grad));
      else
        narrow_all(static_cast<Float16*>(rows.inject), static_cast<Float16*>(rows.aux_grad));
    }
    draw_sample(options, rows, n, mu.row, row.noise);
    if (!good) spoil(rows, n);
  }
}

// As many rows at a time as there are lanes; what a lane without a row holds doesn't matter.
template <typename scalar_t>
void groups_of_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t begin, int64_t end) {
  constexpr int64_t lanes = ShortRows<scalar_t>::kRows;
  const int64_t C = rows.C;
  RowMemory<scalar_t> memory(C * lanes, nullptr);
  ShortRows<scalar_t> group = {C, memory.z, memory.v, {}, {}, {}, {}};
  for (int64_t n0 = begin; n0 < end; n0 += lanes) {
    const int64_t count = std::min(lanes, end - n0);
    for (const auto& [from, to] : {std::pair(rows.logits, group.z), std::pair(rows.aux_logits, group.v)})
      at_row(rows, from, n0, [&, to = to](const auto* x) {
        for (int64_t l = 0; l < count; ++l)
          for (int64_t c = 0; c < C; ++c) to[c * lanes + l] = widen(x[l * C + c]);
      });
    for (int64_t l = 0; l < count; ++l) group.label[l] = label_of(rows, n0 + l);
    short_rows(options, group);
    for (const auto& [from, to] : {std::pair(group.z, rows.inject), std::pair(group.v, rows.aux_grad)})
      at_row(rows, to, n0, [&, from = from](auto* x) {
        for (int64_t l = 0; l < count; ++l)
          for (int64_t c = 0; c < C; ++c) narrow(from[c * lanes + l], x + l * C + c);
      });
    for (int64_t l = 0; l < count; ++l) {
      const int64_t n = n0 + l;
      rows.top[n] = group.z_top[l].at;
      rows.aux_top[n] = group.v_top[l].at;
      rows.valid[n] = counts(options, rows, n);
      if (!rows.valid[n]) {
        ignore(rows, n);
        continue;
      }
      put(rows, n, group.results[l]);
      for (int64_t c = 0; rows.sample != nullptr && c < C; ++c) memory.t[c] = group.z[c * lanes + l];
      draw_sample(options, rows, n, memory.t, memory.noise);
      if (group.label[l] != rows.labels[n]) spoil(rows, n);
    }
  }
}

template <typename scalar_t>
void single_rows(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t begin, int64_t end) {
  const scalar_t p = rows.weight == nullptr ? 1 : *rows.weight;
  for (int64_t n = begin; n < end; ++n) {
    scalar_t z, v, noise;
    at_row(rows, rows.logits, n, [&](const auto* x) { z = widen(*x); });
    at_row(rows, rows.aux_logits, n, [&](const auto* x) { v = widen(*x); });
    rows.top[n] = z > 0;
    rows.aux_top[n] = v > 0;
    rows.valid[n] = counts(options, rows, n);
    if (!rows.valid[n]) {
      ignore(rows, n);
      continue;
    }
    const scalar_t t = rows.labels == nullptr ? rows.soft[n] : static_cast<scalar_t>(rows.labels[n]);
    const bool good = rows.labels == nullptr ? 0 <= t && t <= 1 : rows.labels[n] == 0 || rows.labels[n] == 1;
    const SingleRow<scalar_t> row = single_row(options, z, v, t, p);
    fill(rows, rows.inject, n, row.inject);
    fill(rows, rows.aux_grad, n, row.aux_grad);
    draw_sample(options, rows, n, &row.inject, &noise);
    put(rows, n, row.results);
    if (!good) spoil(rows, n);
  }
}

}  // namespace

template <typename scalar_t>
void limit(const LimitOptions& options, const LimitRows<scalar_t>& rows) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  const bool plain = rows.labels != nullptr && rows.weight == nullptr && options.smoothing == 0;
  const int64_t groups = (rows.N + lanes - 1) / lanes;  // whole ones, whatever the threads
  parallel_for(groups, std::max<int64_t>(1, kGrain / (rows.C * lanes)), [&](int64_t first, int64_t last) {
    const int64_t begin = first * lanes, end = std::min(rows.N, last * lanes);
    if (rows.C == 1) return single_rows(options, rows, begin, end);
    if (plain && rows.C <= kFewClasses) return groups_of_rows(options, rows, begin, end);
    long_rows(options, rows, plain, begin, end);
  });
}

template void limit(const LimitOptions&, const LimitRows<float>&);
template void limit(const LimitOptions&, const LimitRows<double>&);

void limit_noise(const NoiseKey& key, int64_t N, int64_t C, NoiseKind kind, double* out) {
  parallel_for(N, std::max<int64_t>(1, kGrain / C), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) fill_noise(key, n, C, kind, 1, out + n * C);
  });
}

}  // namespace infotorch::cpu
