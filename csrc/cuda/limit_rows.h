// limit of one row by a group of threads: one thread, a warp or a block. Every thread of a group must call `work`.
//
// A first pass reads the row, keeps what fits in shared memory, and sums exponentials about the largest logit so far;
// when a larger one comes, the sums are scaled down to it. So a row is read once more at most, or twice with weights or
// a target of many classes, however long it is. Sums are taken in one order, whatever ran first.
#pragma once

#include "../limit_single.h"
#include "launch.h"
#include "reduce.h"

namespace infotorch::cuda {

constexpr int kThreadBytes = 176, kWarpBytes = 8 << 10, kBlockBytes = 96 << 10, kLongThreads = 512, kWarps = 4;
constexpr int kShortThreads = 64;  // and rows of a block

// How much shared memory a class takes, so that a thread holds 10 of float64 and 21 of float32, and a warp 512 and
// 1024.
template <typename scalar_t>
constexpr int kClassBytes = 2 * sizeof(scalar_t);

template <typename scalar_t>
__device__ scalar_t nan_of() {
  return static_cast<scalar_t>(float_of_bits(0x7fc00000));
}

template <typename scalar_t>
__device__ scalar_t lowest() {
  return static_cast<scalar_t>(-float_of_bits(0x7f800000));  // minus infinity
}

template <typename scalar_t>
__device__ bool counts(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n) {
  return (rows.mask == nullptr || rows.mask[n]) && (rows.labels == nullptr || rows.labels[n] != options.ignore_index);
}

// What is known of row n.
template <typename scalar_t>
__device__ void put_row(const LimitRows<scalar_t>& rows, int64_t n, bool valid, bool good,
                        const RowResults<scalar_t>& results, int64_t top, int64_t aux_top) {
  const scalar_t bad = nan_of<scalar_t>();
  rows.match[n] = !valid ? scalar_t(0) : good ? results.match : bad;
  rows.pen[n] = valid ? results.pen : scalar_t(0);
  rows.ce[n] = !valid ? scalar_t(0) : good ? results.ce : bad;
  rows.dist[n] = !valid ? scalar_t(0) : good ? results.dist : bad;
  rows.valid[n] = valid;
  rows.top[n] = top;
  rows.aux_top[n] = aux_top;
}

// The first largest logit.
template <typename scalar_t>
struct Top {
  scalar_t value;
  int64_t at;

  __device__ void meet(const Top& other) {  // NaN is met by none
    if (other.value > value || (other.value == value && other.at < at)) *this = other;
  }
};

// Groups of threads: how many, which one this is, and sums and tops over all of them, that each of them gets.
struct Alone {
  static constexpr int kThreads = 1;
  __device__ int thread() const { return 0; }
  template <typename scalar_t, int count>
  __device__ void add_up(scalar_t (&)[count]) const {}
  template <typename scalar_t>
  __device__ void meet(Top<scalar_t>&) const {}
};

template <typename scalar_t>
__device__ void warp_meet(Top<scalar_t>& top) {
#pragma unroll
  for (int bit = kWarp / 2; bit > 0; bit /= 2) {
    Top<scalar_t> other;
    other.value = __shfl_xor_sync(~0u, top.value, bit);
    other.at = __shfl_xor_sync(~0u, top.at, bit);
    top.meet(other);
  }
}

struct Warp {
  static constexpr int kThreads = kWarp;
  __device__ int thread() const { return threadIdx.x % kWarp; }
  template <typename scalar_t, int count>
  __device__ void add_up(scalar_t (&x)[count]) const {
#pragma unroll
    for (int k = 0; k < count; ++k) x[k] = warp_sum(x[k]);
  }
  template <typename scalar_t>
  __device__ void meet(Top<scalar_t>& top) const {
    warp_meet(top);
  }
};

template <typename scalar_t>
struct Block {
  static constexpr int kThreads = kLongThreads, kMost = 8, kWarpCount = kLongThreads / kWarp;
  static constexpr int kCells = kMost * kWarpCount + 2 * kWarpCount;  // and two for a place, which has 64 bits

  scalar_t* cells;

  __device__ int thread() const { return threadIdx.x; }
  template <int count>
  __device__ void add_up(scalar_t (&x)[count]) const {
    static_assert(count <= kMost, "a cell for each");
#pragma unroll
    for (int k = 0; k < count; ++k) {
      x[k] = warp_sum(x[k]);
      if (threadIdx.x % kWarp == 0) cells[k * kWarpCount + threadIdx.x / kWarp] = x[k];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < count; ++k) {
      x[k] = 0;
      for (int w = 0; w < kWarpCount; ++w) x[k] += cells[k * kWarpCount + w];
    }
    __syncthreads();  // before the cells are written again
  }
  __device__ void meet(Top<scalar_t>& top) const {
    warp_meet(top);
    auto* const place = reinterpret_cast<int64_t*>(cells);  // [kWarpCount], then the values
    scalar_t* const value = cells + kWarpCount * (sizeof(int64_t) / sizeof(scalar_t));
    if (threadIdx.x % kWarp == 0) {
      place[threadIdx.x / kWarp] = top.at;
      value[threadIdx.x / kWarp] = top.value;
    }
    __syncthreads();
    for (int w = 0; w < kWarpCount; ++w) {
      Top<scalar_t> other;
      other.value = value[w];
      other.at = place[w];
      top.meet(other);
    }
    __syncthreads();
  }
};

// A row's logits, of which the first `kept` classes lie in shared memory once they were read. A thread reads only those
// that it kept itself.
template <typename Group, typename scalar_t, typename stored_t>
struct Row {
  const stored_t *z, *v;
  scalar_t *kept_z, *kept_v;
  int64_t C, kept;

  __device__ void read(int64_t c, scalar_t& z_c, scalar_t& v_c) const {
    z_c = widen(z[c]);
    v_c = widen(v[c]);
    if (c >= kept) return;
    kept_z[c] = z_c;
    kept_v[c] = v_c;
  }
  __device__ scalar_t z_at(int64_t c) const { return c < kept ? kept_z[c] : widen(z[c]); }
  __device__ scalar_t v_at(int64_t c) const { return c < kept ? kept_v[c] : widen(v[c]); }
};

// Where mu and aux_grad go.
template <typename scalar_t>
struct InPlace {
  scalar_t *mu, *aux_grad;

  __device__ void operator()(int64_t c, scalar_t mu_c, scalar_t aux_c) const {
    mu[c] = mu_c;
    aux_grad[c] = aux_c;
  }
};

template <typename stored_t>
struct ToGlobal {
  stored_t *mu, *aux_grad;

  template <typename scalar_t>
  __device__ ToGlobal(const LimitRows<scalar_t>& rows, int64_t at)
      : mu(static_cast<stored_t*>(rows.inject) + at), aux_grad(static_cast<stored_t*>(rows.aux_grad) + at) {}
  template <typename scalar_t>
  __device__ void operator()(int64_t c, scalar_t mu_c, scalar_t aux_c) const {
    narrow(mu_c, mu + c);
    narrow(aux_c, aux_grad + c);
  }
};

// exp(x - top), 0 for a class that is masked, also where no other came yet.
template <typename scalar_t>
__device__ scalar_t term(scalar_t x, scalar_t top) {
  return x == lowest<scalar_t>() ? scalar_t(0) : exp_of(x - top);
}

// Sums over a row, about the tops so far.
template <bool plain, typename scalar_t>
struct Totals {
  enum { z, v, others, squares, both };                          // of v and its squares without the label's
  enum { wu = 2, wt = 3, wt_z = 4, wt_v = 5, soft = 6, below };  // in general; soft is the target's own sum
  static constexpr int kCount = plain ? 5 : 8;

  scalar_t of[kCount] = {};
  Top<scalar_t> z_top, v_top;

  __device__ void move_z(scalar_t to) {
    const scalar_t by = term(z_top.value, to);
    of[z] *= by;
    if constexpr (plain)
      of[both] *= by;
    else if (z_top.value > lowest<scalar_t>())
      of[wt_z] -= of[wt] * (to - z_top.value);
  }
  __device__ void move_v(scalar_t to) {
    const scalar_t by = term(v_top.value, to);
    of[v] *= by;
    if constexpr (plain) {
      of[others] *= by;
      of[squares] *= by * by;
      of[both] *= by;
    } else {
      of[wu] *= by;
      if (v_top.value > lowest<scalar_t>()) of[wt_v] -= of[wt] * (to - v_top.value);
    }
  }

  // The next class's logits, before their terms are added.
  __device__ void meet(int64_t c, scalar_t z_c, scalar_t v_c) {
    if (z_c > z_top.value) move_z(z_c), z_top = {z_c, c};
    if (v_c > v_top.value) move_v(v_c), v_top = {v_c, c};
  }
  template <typename Group>
  __device__ void add_up(const Group& group) {
    const Top<scalar_t> z_mine = z_top, v_mine = v_top;
    Top<scalar_t> z_all = z_mine, v_all = v_mine;
    group.meet(z_all);
    group.meet(v_all);
    move_z(z_all.value);
    move_v(v_all.value);
    group.add_up(of);
    z_top = z_all;
    v_top = v_all;
  }
};

// The smoothed target and the weight of a class.
template <typename scalar_t>
struct Target {
  const scalar_t *soft, *weight;
  int64_t label;
  scalar_t keep, spread;

  __device__ scalar_t t(int64_t c) const {
    return soft != nullptr ? keep * soft[c] + spread : c == label ? keep + spread : spread;
  }
  __device__ scalar_t w(int64_t c) const { return weight == nullptr ? scalar_t(1) : weight[c]; }
};

// All of row n. `plain` is one label and no weights, whose formulas csrc/cpu/limit_plain.h explains; the others are in
// csrc/cpu/limit_general.h.
template <bool plain, typename stored_t, typename Group, typename scalar_t, typename row_t, typename Write>
__device__ void work(const LimitOptions& options, const LimitRows<scalar_t>& rows, int64_t n, const Group& group,
                     const Row<Group, scalar_t, row_t>& row, const Write& write) {
  using T = Totals<plain, scalar_t>;
  const int64_t C = row.C;
  const bool valid = counts(options, rows, n);
  const bool in_range = rows.labels == nullptr || (0 <= rows.labels[n] && rows.labels[n] < C);
  const int64_t label = rows.labels != nullptr && in_range ? rows.labels[n] : 0;
  const Target<scalar_t> target = {rows.soft == nullptr ? nullptr : rows.soft + n * C, rows.weight, label,
                                   static_cast<scalar_t>(1 - options.smoothing),
                                   static_cast<scalar_t>(options.smoothing / C)};
  T total;
  total.z_top = total.v_top = {lowest<scalar_t>(), 0};  // where nothing is larger, the first counts as such
  for (int64_t c = group.thread(); c < C; c += Group::kThreads) {
    scalar_t z, v;
    row.read(c, z, v);
    total.meet(c, z, v);
    const scalar_t s = term(z, total.z_top.value), u = term(v, total.v_top.value);
    total.of[T::z] += s;
    total.of[T::v] += u;
    if constexpr (plain) {
      const scalar_t other = c == label ? scalar_t(0) : u;
      total.of[T::others] += other;
      total.of[T::squares] += other * other;
      total.of[T::both] += s * u;
    } else {
      const scalar_t wt = target.w(c) * target.t(c);
      total.of[T::wu] += target.w(c) * u;
      total.of[T::wt] += wt;
      if (wt > 0) {  // 0 * inf is 0 for a class that is masked
        total.of[T::wt_z] += z == lowest<scalar_t>() ? z : wt * (z - total.z_top.value);
        total.of[T::wt_v] += v == lowest<scalar_t>() ? v : wt * (v - total.v_top.value);
      }
      if (target.soft != nullptr) {
        total.of[T::soft] += target.soft[c];
        total.of[T::below] += target.soft[c] < 0;
      }
    }
  }
  total.add_up(group);
  const scalar_t z_top = total.z_top.value, v_top = total.v_top.value;
  const scalar_t z_sum = total.of[T::z], v_sum = total.of[T::v], z_scale = 1 / z_sum, v_scale = 1 / v_sum;
  bool good = in_range;
  if constexpr (!plain)
    if (target.soft != nullptr) {
      const scalar_t away = total.of[T::soft] - 1;
      good = total.of[T::below] == 0 && -kTargetTolerance <= away && away <= kTargetTolerance;
    }
  const auto s_at = [&](int64_t c) { return term(row.z_at(c), z_top) * z_scale; };
  const auto u_at = [&](int64_t c) { return term(row.v_at(c), v_top) * v_scale; };
  const Slope<scalar_t> slope(options.match, options.beta);
  scalar_t wu = 1, wt = 1;
  if constexpr (!plain) wu = total.of[T::wu] * v_scale, wt = total.of[T::wt];
  const auto mu_of = [&](int64_t c, scalar_t s, scalar_t u) {
    return plain || target.weight == nullptr ? s - u : wu * s - target.w(c) * u;
  };
  const int64_t at = n * C;
  if (rows.sample != nullptr)
    for (int64_t block = group.thread(); 4 * block < C; block += Group::kThreads) {
      double four[4];
      draw_noise(options.noise, options.noise.id(n), block, noise_kind(options.match), four);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t c = 4 * block + j;
        if (c >= C) break;
        const scalar_t z = widen(row.z[c]), v = widen(row.v[c]);
        const scalar_t s = term(z, z_top) * z_scale, u = term(v, v_top) * v_scale;
        const scalar_t drawn = mu_of(c, s, u) + static_cast<scalar_t>(options.noise_scale * four[j]);
        narrow(valid ? drawn : scalar_t(0), static_cast<stored_t*>(rows.sample) + at + c);
      }
    }

  RowResults<scalar_t> results = {};
  scalar_t along_s = 0, along_u = 0, at_label = 0;
  if constexpr (plain) {
    const scalar_t z_y = widen(row.z[label]) - z_top, v_y = widen(row.v[label]) - v_top;
    const scalar_t s = term(z_y, scalar_t(0)) * z_scale, u = term(v_y, scalar_t(0)) * v_scale;
    const scalar_t rest = total.of[T::others] * v_scale, squares = total.of[T::squares] * v_scale * v_scale;
    const scalar_t below = rest > 0, su = total.of[T::both] * z_scale * v_scale;
    along_u =
        slope.square * (squares - u * rest) + slope.sign * (rest - u * below) - slope.pen * (su - squares - u * u);
    at_label = u * (slope(-rest, s - u) - along_u) - slope.ce * rest;
    const scalar_t distance = squares + rest * rest;
    results.match = options.match == LimitMatch::gaussian  ? distance
                    : options.match == LimitMatch::laplace ? 2 * rest
                                                           : log_of(v_sum) - v_y;
    results.ce = log_of(z_sum) - z_y;
    results.dist = root_of(distance);
  } else {
    scalar_t inner[2] = {};
    for (int64_t c = group.thread(); c < C; c += Group::kThreads) {
      const scalar_t s = s_at(c), u = u_at(c), off = u - target.t(c);
      const scalar_t d = target.weight == nullptr ? off : target.w(c) * off - (wu - wt) * s;
      const scalar_t r = slope(d, mu_of(c, s, u));
      inner[0] += target.weight == nullptr ? scalar_t(0) : s * r;
      inner[1] += target.w(c) * u * r;
    }
    group.add_up(inner);
    along_s = inner[0];
    along_u = inner[1] - inner[0] * wu;
    results.ce = wt * log_of(z_sum) - total.of[T::wt_z];
  }

  scalar_t sums[4] = {};
  for (int64_t c = group.thread(); c < C; c += Group::kThreads) {
    const scalar_t s = s_at(c), u = u_at(c), mu = mu_of(c, s, u);
    scalar_t aux_grad;
    if constexpr (plain) {
      aux_grad = c == label ? at_label : u * (slope.square * u + slope.sign - slope.pen * mu - along_u + slope.ce);
    } else {
      const scalar_t w = target.w(c), t = target.t(c), off = u - t;
      const scalar_t d = target.weight == nullptr ? off : w * off - (wu - wt) * s;
      const scalar_t r = slope(d, mu);
      aux_grad = u * ((target.weight == nullptr ? r : w * (r - along_s)) - along_u) + slope.ce * (wt * u - w * t);
      sums[1] += d * d;
      sums[2] += d < 0 ? -d : d;
      sums[3] += off * off;
    }
    sums[0] += mu * mu;
    write(c, valid ? mu : scalar_t(0), !valid ? scalar_t(0) : good ? aux_grad : nan_of<scalar_t>());
  }
  group.add_up(sums);
  results.pen = sums[0];
  if constexpr (!plain) {
    results.match = options.match == LimitMatch::gaussian  ? sums[1]
                    : options.match == LimitMatch::laplace ? sums[2]
                                                           : wt * log_of(v_sum) - total.of[T::wt_v];
    results.dist = root_of(sums[3]);
  }
  if (group.thread() == 0) put_row(rows, n, valid, good, results, total.z_top.at, total.v_top.at);
}

}  // namespace infotorch::cuda
