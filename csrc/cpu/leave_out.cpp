#include "leave_out.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <utility>

#include "../parallel.h"
#include "pack.h"
#include "simd.h"
#include "tile.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kDepth = 32;  // eigenvalues of which the rows of some sets, and what they meet, stay in cache
constexpr int64_t kAhead = 8;   // eigenvalues whose sums are in registers at once
constexpr int64_t kGroup = 8;   // sets in the widest registers

// Pairs i, j of rows with i <= j, and of rows with right-hand sides behind these, row by row.
struct Pairs {
  int64_t b, V;
  int64_t begin(int64_t i) const { return i * (b + V) - i * (i - 1) / 2; }  // of (i, i)
  int64_t at(int64_t i, int64_t j) const { return i <= j ? begin(i) + j - i : begin(j) + i - j; }
  int64_t count() const { return begin(b); }
};

// Of the rows of a set's system, whole registers.
constexpr int64_t stride_of(int64_t b, int64_t V) { return ceil_div(b + V, kGroup) * kGroup; }

// What one thread needs for some sets, a lane each.
struct Workspace {
  explicit Workspace(const LeaveOut& of)
      : packed((of.b + of.V + 1) * kDepth * kGroup),
        sums(Pairs{of.b, of.V}.count() * 2 * of.S * kGroup),
        gamma(of.b * of.V * 2 * of.S * kGroup),
        spans(of.P * kGroup),
        ahead(of.V * kAhead * kGroup),
        own(of.b * of.V * kGroup),
        system(2 * of.b * stride_of(of.b, of.V)) {}
  const Scratch<double> packed, sums, gamma, spans, ahead, own, system;
};

// to[c, lane] += sum over k of left[k, lane] right[k, lane] factors[k, c]; without `right`, of left alone.
template <int64_t bytes, int64_t cols>
INFOTORCH_INLINE void add_sums(const double* left, const double* right, const double* factors, int64_t stride,
                               int64_t depth, double* to) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  vector_t sum[cols];
#pragma GCC unroll 16
  for (int64_t c = 0; c < cols; ++c) sum[c] = load<vector_t>(to + c * lanes);
  for (int64_t k = 0; k < depth; ++k) {
    auto x = load<vector_t>(left + k * lanes);
    if (right) x *= load<vector_t>(right + k * lanes);
#pragma GCC unroll 16
    for (int64_t c = 0; c < cols; ++c) sum[c] += x * factors[k * stride + c];
  }
#pragma GCC unroll 16
  for (int64_t c = 0; c < cols; ++c) store(to + c * lanes, sum[c]);
}

template <int64_t bytes, int64_t most>
INFOTORCH_INLINE void add_all_sums(const double* left, const double* right, const double* factors, int64_t count,
                                   int64_t depth, double* to) {
  constexpr int64_t lanes = bytes / sizeof(double);
  int64_t c = 0;
  for (; c + most <= count; c += most) add_sums<bytes, most>(left, right, factors + c, count, depth, to + c * lanes);
  if (c + 8 <= count) add_sums<bytes, 8>(left, right, factors + c, count, depth, to + c * lanes), c += 8;
  if (c + 4 <= count) add_sums<bytes, 4>(left, right, factors + c, count, depth, to + c * lanes), c += 4;
  for (; c < count; ++c) add_sums<bytes, 1>(left, right, factors + c, count, depth, to + c * lanes);
}

// to[k, lane] = sum over i of rows[i, k, lane]^2
template <int64_t bytes>
INFOTORCH_INLINE void squares(const double* rows, int64_t b, int64_t depth, double* to) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  for (int64_t k = 0; k < depth; ++k) {
    vector_t sum = {};
    for (int64_t i = 0; i < b; ++i) {
      const auto x = load<vector_t>(rows + (i * depth + k) * lanes);
      sum += x * x;
    }
    store(to + k * lanes, sum);
  }
}

// Rows of `depth` eigenvalues, [b, depth, lanes], and behind them right-hand sides that all lanes share; sets beyond
// `count` have zeros.
template <int64_t bytes>
INFOTORCH_INLINE void pack(const LeaveOut& of, int64_t n, int64_t count, int64_t k0, int64_t depth, double* to) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  for (int64_t i = 0; i < of.b; ++i, to += depth * lanes) {
    const double* const from = of.rows + n * of.set_stride + i * of.row_stride + k0 * of.value_stride;
    if (of.set_stride == 1 && count == lanes) {
      for (int64_t k = 0; k < depth; ++k) store(to + k * lanes, load<vector_t>(from + k * of.value_stride));
      continue;
    }
    if (count < lanes) std::fill(to, to + depth * lanes, 0.0);
    for (int64_t lane = 0; lane < count; ++lane)
      for (int64_t k = 0; k < depth; ++k) to[k * lanes + lane] = from[lane * of.set_stride + k * of.value_stride];
  }
  for (int64_t v = 0; v < of.V; ++v)
    for (int64_t k = 0; k < depth; ++k, to += lanes) store(to, vector_t{} + of.rotated[(k0 + k) * of.V + v]);
}

// Rows of complex numbers, their real and their imaginary parts apart: blocks, and behind them right-hand sides.
struct System {
  int64_t b, V, stride;
  double *real, *imag;

  double* real_at(int64_t i, int64_t j) const { return real + i * stride + j; }
  double* imag_at(int64_t i, int64_t j) const { return imag + i * stride + j; }
  double size_at(int64_t i, int64_t j) const { return std::abs(*real_at(i, j)) + std::abs(*imag_at(i, j)); }
  std::complex<double> at(int64_t i, int64_t j) const { return {*real_at(i, j), *imag_at(i, j)}; }
  void set(int64_t i, int64_t j, const std::complex<double>& z) const {
    *real_at(i, j) = z.real();
    *imag_at(i, j) = z.imag();
  }
};

// Right-hand sides become solutions, by elimination with row exchanges. Returns the smallest pivot.
template <int64_t bytes>
INFOTORCH_INLINE double solve(const System& x) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  double smallest = std::numeric_limits<double>::infinity();
  for (int64_t k = 0; k < x.b; ++k) {
    int64_t best = k;
    for (int64_t i = k + 1; i < x.b; ++i)
      if (x.size_at(i, k) > x.size_at(best, k)) best = i;
    if (best != k) {
      std::swap_ranges(x.real_at(k, 0), x.real_at(k, 0) + x.stride, x.real_at(best, 0));
      std::swap_ranges(x.imag_at(k, 0), x.imag_at(k, 0) + x.stride, x.imag_at(best, 0));
    }
    const std::complex<double> pivot = x.at(k, k), inverse = 1.0 / pivot;
    const double size = std::abs(pivot);
    smallest = size < smallest || std::isnan(size) ? size : smallest;  // once it is no number it stays so
    const int64_t first = (k + 1) / lanes * lanes;                     // columns before k + 1 are not read again
    for (int64_t i = k + 1; i < x.b; ++i) {
      const std::complex<double> z = x.at(i, k);
      const double real = z.real() * inverse.real() - z.imag() * inverse.imag();
      const double imag = z.real() * inverse.imag() + z.imag() * inverse.real();
      for (int64_t j = first; j < x.stride; j += lanes) {
        const auto from_real = load<vector_t>(x.real_at(k, j)), from_imag = load<vector_t>(x.imag_at(k, j));
        const auto to_real = load<vector_t>(x.real_at(i, j)), to_imag = load<vector_t>(x.imag_at(i, j));
        store(x.real_at(i, j), to_real - real * from_real + imag * from_imag);
        store(x.imag_at(i, j), to_imag - real * from_imag - imag * from_real);
      }
    }
  }
  for (int64_t k = x.b - 1; k >= 0; --k)
    for (int64_t v = x.b; v < x.b + x.V; ++v) {
      double real = *x.real_at(k, v), imag = *x.imag_at(k, v);
      for (int64_t j = k + 1; j < x.b; ++j) {
        const std::complex<double> f = x.at(k, j), y = x.at(j, v);
        real -= f.real() * y.real() - f.imag() * y.imag();
        imag -= f.real() * y.imag() + f.imag() * y.real();
      }
      x.set(k, v, std::complex<double>(real, imag) / x.at(k, k));
    }
  return smallest;
}

// gamma [b, V, 2 S, lanes] of some sets from their sums [pairs, 2 S, lanes].
template <int64_t bytes>
INFOTORCH_INLINE void solve_all(const LeaveOut& of, int64_t n, int64_t count, const Workspace& space,
                                const Removed& to) {
  constexpr int64_t lanes = bytes / sizeof(double);
  const Pairs pairs{of.b, of.V};
  const int64_t width = of.b + of.V, stride = stride_of(of.b, of.V);
  const System system = {of.b, of.V, stride, space.system.data, space.system.data + of.b * stride};
  if (count < lanes) std::fill(space.gamma.data, space.gamma.data + of.b * of.V * 2 * of.S * lanes, 0.0);
  const bool features = of.residual != nullptr;  // I - block and r - x, in place of block and x
  for (int64_t lane = 0; lane < count; ++lane)
    for (int64_t s = 0; s < of.S; ++s) {
      const double* const r = features ? of.residual + (n + lane) * of.b * of.V : nullptr;
      for (int64_t i = 0; i < of.b; ++i) {
        for (int64_t j = of.first_order ? of.b : 0; j < width; ++j) {
          const double* const sum = space.sums.data + (pairs.at(i, j) * 2 * of.S + s) * lanes + lane;
          const double real = sum[0], imag = sum[of.S * lanes];
          const double minuend = j < of.b ? i == j : features ? r[i * of.V + j - of.b] : 0;
          *system.real_at(i, j) = features ? minuend - real : real;
          *system.imag_at(i, j) = features ? -imag : imag;
        }
        std::fill(system.real_at(i, width), system.real_at(i, stride), 0.0);
        std::fill(system.imag_at(i, width), system.imag_at(i, stride), 0.0);
      }
      to.pivot[(n + lane) * of.S + s] = of.first_order ? 1 : solve<bytes>(system);
      double square = 0;
      for (int64_t i = 0; i < of.b; ++i)
        for (int64_t v = 0; v < of.V; ++v) {
          const double real = *system.real_at(i, of.b + v), imag = *system.imag_at(i, of.b + v);
          double* const gamma = space.gamma.data + ((i * of.V + v) * 2 * of.S + s) * lanes + lane;
          square += real * real + imag * imag;
          gamma[0] = real;
          gamma[of.S * lanes] = imag;
        }
      to.norm[(n + lane) * of.S + s] = std::sqrt(square);
    }
}

// to[u, lane] = sum over i of rows[i][u, lane] sum over c of H[u, c] gamma[i][c, lane], for `ahead` eigenvalues.
template <int64_t bytes, int64_t ahead>
INFOTORCH_INLINE void spread(const double* rows, int64_t row_stride, int64_t b, const double* H, int64_t count,
                             const double* gamma, int64_t gamma_stride, double* to) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  vector_t total[ahead] = {};
  for (int64_t i = 0; i < b; ++i, rows += row_stride, gamma += gamma_stride) {
    vector_t sum[ahead] = {};
    for (int64_t c = 0; c < count; ++c) {
      const auto x = load<vector_t>(gamma + c * lanes);
#pragma GCC unroll 8
      for (int64_t u = 0; u < ahead; ++u) sum[u] += x * H[u * count + c];
    }
#pragma GCC unroll 8
    for (int64_t u = 0; u < ahead; ++u) total[u] += load<vector_t>(rows + u * lanes) * sum[u];
  }
#pragma GCC unroll 8
  for (int64_t u = 0; u < ahead; ++u) store(to + u * lanes, total[u]);
}

// to[lane, c] = from[c, lane], lanes of c `stride` apart.
template <int64_t lanes>
INFOTORCH_INLINE void copy_lanes(const double* from, int64_t stride, int64_t size, int64_t count, double* to) {
  for (int64_t lane = 0; lane < count; ++lane)
    for (int64_t c = 0; c < size; ++c) to[lane * size + c] = from[c * stride + lane];
}

// Sets n ... n + count, a lane each; those beyond hold zeros.
template <int64_t bytes, int64_t most>
INFOTORCH_INLINE void leave_out_some(const LeaveOut& of, const Removed& to, int64_t n, int64_t count,
                                     const Workspace& space) {
  using vector_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(double);
  const Pairs pairs{of.b, of.V};
  const int64_t parts = 2 * of.S;
  double *const packed = space.packed.data, *const own = space.own.data, *const ahead = space.ahead.data;
  std::fill(space.sums.data, space.sums.data + pairs.count() * parts * lanes, 0.0);
  std::fill(space.spans.data, space.spans.data + of.P * lanes, 0.0);
  for (int64_t k0 = 0; k0 < of.m; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, of.m - k0), size = depth * lanes;
    pack<bytes>(of, n, count, k0, depth, packed);
    double *const sums = space.sums.data, *const square = packed + (of.b + of.V) * size;
    squares<bytes>(packed, of.b, depth, square);
    add_all_sums<bytes, most>(square, nullptr, of.power + k0 * of.P, of.P, depth, space.spans.data);
    for (int64_t i = 0; i < of.b; ++i)
      for (int64_t j = of.first_order ? of.b : i; j < of.b + of.V; ++j)
        add_all_sums<bytes, most>(packed + i * size, packed + j * size, of.D + k0 * parts, parts, depth,
                                  sums + pairs.at(i, j) * parts * lanes);
  }
  solve_all<bytes>(of, n, count, space, to);
  std::fill(own, own + of.b * of.V * lanes, 0.0);
  for (int64_t k0 = 0; k0 < of.m; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, of.m - k0), size = depth * lanes;
    pack<bytes>(of, n, count, k0, depth, packed);
    for (int64_t k = 0, some; k < depth; k += some) {
      some = depth - k < kAhead ? 1 : kAhead;
      for (int64_t v = 0; v < of.V; ++v) {
        const double *const rows = packed + k * lanes, *const H = of.H + (k0 + k) * parts;
        const double* const gamma = space.gamma.data + v * parts * lanes;
        double* const found = ahead + v * kAhead * lanes;
        if (some == kAhead)
          spread<bytes, kAhead>(rows, size, of.b, H, parts, gamma, of.V * parts * lanes, found);
        else
          spread<bytes, 1>(rows, size, of.b, H, parts, gamma, of.V * parts * lanes, found);
        for (int64_t i = 0; i < of.b; ++i) {
          double* const sum = own + (i * of.V + v) * lanes;
          auto total = load<vector_t>(sum);
          for (int64_t u = 0; u < some; ++u)
            total += load<vector_t>(rows + i * size + u * lanes) * load<vector_t>(found + u * lanes);
          store(sum, total);
        }
      }
      for (int64_t u = 0; u < some; ++u)
        copy_lanes<lanes>(ahead + u * lanes, kAhead * lanes, of.V, count,
                          to.solution + ((k0 + k + u) * of.n + n) * of.V);
    }
  }
  copy_lanes<lanes>(space.spans.data, lanes, of.P, count, to.spans + n * of.P);
  copy_lanes<lanes>(own, lanes, of.b * of.V, count, to.own + n * of.b * of.V);
}

// For registers of BYTES, MOST sums in them at once, compiled with ATTRIBUTE.
#define INFOTORCH_LEAVE_OUT(NAME, BYTES, MOST, ATTRIBUTE)                                                    \
  ATTRIBUTE __attribute__((flatten)) void leave_out_##NAME(const LeaveOut& of, const Removed& to, int64_t n, \
                                                           int64_t end, const Workspace& space) {            \
    constexpr int64_t lanes = BYTES / sizeof(double);                                                        \
    for (; n < end; n += lanes) leave_out_some<BYTES, MOST>(of, to, n, std::min(lanes, end - n), space);     \
  }

#if INFOTORCH_HAS_CLONES
INFOTORCH_LEAVE_OUT(v4, 64, 16, __attribute__((target("arch=x86-64-v4"))))
INFOTORCH_LEAVE_OUT(v3, 32, 8, __attribute__((target("arch=x86-64-v3"))))
#endif
INFOTORCH_LEAVE_OUT(any, 16, 8, )

void leave_out_group(const LeaveOut& of, const Removed& to, int64_t n, int64_t end, const Workspace& space) {
#if INFOTORCH_HAS_CLONES
  if (vector_bytes() == 64) return leave_out_v4(of, to, n, end, space);
  if (vector_bytes() == 32) return leave_out_v3(of, to, n, end, space);
#endif
  leave_out_any(of, to, n, end, space);
}

}  // namespace

void leave_out(const LeaveOut& of, const Removed& to) {
  parallel_tasks(
      ceil_div(of.n, kGroup), 1, [&] { return Workspace(of); },
      [&](int64_t group, const Workspace& space) {
        const int64_t n = group * kGroup;
        leave_out_group(of, to, n, std::min(n + kGroup, of.n), space);
      });
}

}  // namespace infotorch::cpu
