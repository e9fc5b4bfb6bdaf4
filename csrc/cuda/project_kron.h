// The kron form of project: (b R_O)^T (a R_I) for each sample, both factors drawn on the device.
//
// A product with a factor is deep and narrow, and a batch may have few positions, so its depth is cut into pieces of
// kPiece features, each with a block of its own, and added up from left to right. All products are in full precision,
// and where a sum is cut follows from the shape and k alone. 16-bit inputs are widened first: a factor rounded to them
// would be another factor.
#pragma once

#include "../project.h"
#include "full_product.h"
#include "scratch.h"

namespace infotorch::cuda {

constexpr int kKronThreads = 256;
constexpr int64_t kPiece = 512;                // features
constexpr int64_t kFactorBytes = 8 * kMiB;     // of a factor held at once
constexpr int64_t kPiecesBytes = 16 * kMiB;    // of products of pieces
constexpr int64_t kWidenedBytes = 16 * kMiB;   // of 16-bit inputs
constexpr int64_t kProductsBytes = 16 * kMiB;  // of a R_I and b R_O

// A factor [features, columns] of a sketch.
struct Factor {
  Source source;
  Draw draw;
  int64_t features, columns;
};

// Rows begin at 16-byte boundaries, so that they are read by chunks.
template <typename scalar_t>
struct Matrix {
  scalar_t* data;
  int64_t stride;

  static int64_t stride_of(int64_t columns) { return ceil_div(columns, kChunk<scalar_t>) * kChunk<scalar_t>; }

  // Rows from `first` on and columns from `left` on are what the matrix holds; the view counts from 0.
  View<scalar_t> view(int64_t rows, int64_t columns, int64_t first = 0, int64_t left = 0) const {
    Rows<scalar_t> all = {data - first * stride - left, Storage::same, 0, {}, {}, false};
    all.t.append(rows, stride);
    all.i.append(columns, 1);
    return rows::view<scalar_t>(all, 1);
  }
};

// to[f - first, column] = number of the factor.
template <typename scalar_t>
__global__ void __launch_bounds__(kKronThreads)
    draw_factor_kernel(Factor factor, int64_t first, int64_t count, Matrix<scalar_t> to) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kKronThreads + threadIdx.x;
  if (at >= count * factor.columns) return;
  to.data[at / factor.columns * to.stride + at % factor.columns] =
      normal(factor.source, factor.draw, first * factor.columns + at);
}

// to[p, i] = x[p0 + p, i0 + i].
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kKronThreads)
    widen_kernel(const __grid_constant__ View<stored_t> x, int64_t p0, int64_t rows, int64_t i0, int64_t columns,
                 Matrix<scalar_t> to) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kKronThreads + threadIdx.x, p = at / columns, i = at % columns;
  if (p < rows) to.data[p * to.stride + i] = number(x, p0 + p, i0 + i);
}

// Block (piece, tile) multiplies its features, from i0 on and before i1, of a tile of positions with as many of the
// factor into pieces[piece, p, column].
template <typename P>
__global__ void __launch_bounds__(P::kThreads, 2)
    multiply_pieces_kernel(Tiling tiles, const __grid_constant__ View<typename P::stored_t> x, int64_t p0, int64_t rows,
                           const __grid_constant__ View<typename P::stored_t> factor, int64_t i0, int64_t i1,
                           typename P::scalar_t* pieces) {
  const int64_t piece = blockIdx.x / tiles.count(), columns = factor.positions, first = i0 + piece * kPiece;
  const Tiling::Place tile = tiles[blockIdx.x % tiles.count()];
  const int64_t p = tile.row * P::kEdge, q = tile.col * P::kEdge;
  typename P::Accumulator acc = {};
  P::add({x, p0 + p, p0 + rows}, {factor, q, columns}, first, min(i1, first + kPiece), acc);
  pieces += (piece * rows + p) * columns + q;
  P::for_each(acc, [&](int r, int c, typename P::scalar_t sum) {
    if (p + r < rows && q + c < columns) pieces[r * columns + c] = sum;
  });
}

// to[p, column] = or += pieces[., p, column], from left to right.
template <typename scalar_t>
__global__ void __launch_bounds__(kKronThreads)
    add_pieces_kernel(int64_t count, int64_t columns, int64_t size, const scalar_t* pieces, bool fresh,
                      Matrix<scalar_t> to) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kKronThreads + threadIdx.x;
  if (at >= size) return;
  scalar_t& sum = to.data[at / columns * to.stride + at % columns];
  scalar_t total = fresh ? 0 : sum;
  for (int64_t piece = 0; piece < count; ++piece) total += pieces[piece * size + at];
  sum = total;
}

// to[p, column] = the row of the factor that position p0 + p points at, and the bias's, which is the last.
template <typename scalar_t>
__global__ void __launch_bounds__(kKronThreads)
    pick_kernel(Factor factor, Ids a, int64_t T, int64_t p0, int64_t rows, Matrix<scalar_t> to) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kKronThreads + threadIdx.x, columns = factor.columns;
  if (at >= rows * columns) return;
  const int64_t p = p0 + at / columns, column = at % columns;
  const int64_t id = a.data[p / T * a.n_stride + p % T * a.t_stride];
  scalar_t x = normal(factor.source, factor.draw, id * columns + column);
  if (a.bias) x += normal(factor.source, factor.draw, (factor.features - 1) * columns + column);
  to.data[at / columns * to.stride + column] = x;
}

// Block (n, tile) sums `depth` positions of its tile of scale * left[n]^T right[n] into out[n], or adds them to it.
template <typename P>
__global__ void __launch_bounds__(P::kThreads, 2)
    join_kernel(Tiling tiles, int64_t depth, const __grid_constant__ View<typename P::stored_t> left,
                const __grid_constant__ View<typename P::stored_t> right, typename P::scalar_t scale, bool fresh,
                typename P::scalar_t* out) {
  const int64_t n = blockIdx.x / tiles.count(), rows = left.features, columns = right.features;
  const Tiling::Place tile = tiles[blockIdx.x % tiles.count()];
  const int64_t p = tile.row * P::kEdge, q = tile.col * P::kEdge;
  typename P::Accumulator acc = {};
  P::add({left, p, rows}, {right, q, columns}, n * depth, (n + 1) * depth, acc);
  out += (n * rows + p) * columns + q;
  P::for_each(acc, [&](int r, int c, typename P::scalar_t sum) {
    if (p + r >= rows || q + c >= columns) return;
    typename P::scalar_t& to = out[r * columns + c];
    to = (fresh ? 0 : to) + scale * sum;
  });
}

template <typename scalar_t>
class KronSketch {
 public:
  KronSketch(const Sketch& sketch, const PairShape& s, int64_t in_features, bool widens, Scratch& scratch)
      : s_(s), k_(sketch.k) {
    const FactorColumns columns = factor_columns(sketch.k, s.O, in_features);
    in_ = {sketch.source, Draw::in_factor, s.I, columns.I};
    of_out_ = {sketch.source, Draw::out_factor, s.O, columns.O};
    right_.stride = Matrix<scalar_t>::stride_of(columns.I);
    left_.stride = Matrix<scalar_t>::stride_of(columns.O);
    const int64_t fit = fitting(kProductsBytes, right_.stride + left_.stride);
    samples_ = std::clamp<int64_t>(fit / s.T, 1, s.N);
    depth_ = std::min(s.T, fit);
    const Steps &x = in_steps_ = steps_of(in_, widens), &y = of_out_steps_ = steps_of(of_out_, widens);
    right_.data = scratch.take<scalar_t>(samples_ * depth_ * right_.stride);
    left_.data = scratch.take<scalar_t>(samples_ * depth_ * left_.stride);
    drawn_ = scratch.take<scalar_t>(std::max(x.drawn, y.drawn));
    pieces_ = scratch.take<scalar_t>(std::max(x.pieces, y.pieces));
    widened_ = scratch.take<scalar_t>(std::max(x.widened, y.widened));
  }

  // A is View<stored_t> or Ids.
  template <typename A, typename stored_t>
  const char* operator()(const A& a, const View<stored_t>& b, scalar_t* out, void* stream) const {
    for (int64_t n0 = 0; n0 < s_.N; n0 += samples_)
      for (int64_t t0 = 0; t0 < s_.T; t0 += depth_) {
        const int64_t count = std::min(samples_, s_.N - n0), here = std::min(depth_, s_.T - t0);
        const int64_t p0 = n0 * s_.T + t0, rows = count * here;
        if (const char* error = multiply(in_, in_steps_, a, p0, rows, right_, stream)) return error;
        if (const char* error = multiply(of_out_, of_out_steps_, b, p0, rows, left_, stream)) return error;
        if (const char* error = join(count, here, t0 == 0, out + n0 * k_, stream)) return error;
      }
    return nullptr;
  }

 private:
  // How a product with a factor goes through scratch: so many features of the factor and then positions at once, and
  // the numbers of either, of the products of pieces and of widened inputs.
  struct Steps {
    int64_t deep, rows, drawn, pieces, widened;
  };

  // How many rows of so many numbers fit, one at least.
  static int64_t fitting(int64_t bytes, int64_t numbers) {
    return std::max<int64_t>(1, bytes / (numbers * static_cast<int64_t>(sizeof(scalar_t))));
  }

  Steps steps_of(const Factor& factor, bool widens) const {
    const int64_t stride = Matrix<scalar_t>::stride_of(factor.columns), most = fitting(kFactorBytes, stride);
    const int64_t deep = std::min(factor.features, most < kPiece ? most : most / kPiece * kPiece);
    const int64_t row = ceil_div(deep, kPiece) * factor.columns, wide = Matrix<scalar_t>::stride_of(deep);
    int64_t rows = std::min(samples_ * depth_, fitting(kPiecesBytes, row));
    if (widens) rows = std::min(rows, fitting(kWidenedBytes, wide));
    return {deep, rows, deep * stride, rows * row, widens ? rows * wide : 0};
  }

  template <typename Kernel, typename... Args>
  static const char* each(Kernel kernel, int64_t numbers, void* stream, const Args&... args) {
    return launch(kernel, ceil_div(numbers, kKronThreads), kKronThreads, 0, stream, args...);
  }

  template <typename stored_t>
  const char* multiply(const Factor& factor, const Steps& steps, const View<stored_t>& x, int64_t p0, int64_t rows,
                       const Matrix<scalar_t>& to, void* stream) const {
    const int64_t columns = factor.columns;
    const Matrix<scalar_t> drawn = {drawn_, to.stride};
    for (int64_t i0 = 0; i0 < factor.features; i0 += steps.deep) {
      const int64_t i1 = std::min(factor.features, i0 + steps.deep), pieces = ceil_div(i1 - i0, kPiece);
      if (const char* error =
              each(&draw_factor_kernel<scalar_t>, (i1 - i0) * columns, stream, factor, i0, i1 - i0, drawn))
        return error;
      // The factor's columns take the place of positions.
      View<scalar_t> factor_view = drawn.view(factor.features, columns, i0);
      std::swap(factor_view.p, factor_view.i);
      std::swap(factor_view.positions, factor_view.features);
      factor_view.fast = Along::positions;
      const Matrix<scalar_t> widened = {widened_, Matrix<scalar_t>::stride_of(i1 - i0)};
      for (int64_t p = 0; p < rows; p += steps.rows) {
        const int64_t here = std::min(steps.rows, rows - p);
        View<scalar_t> from = {};
        int64_t begin = p0 + p;
        if constexpr (sizeof(stored_t) == 2) {
          if (const char* error = each(&widen_kernel<stored_t, scalar_t>, here * (i1 - i0), stream, x, begin, here, i0,
                                       i1 - i0, widened))
            return error;
          from = widened.view(here, factor.features, 0, i0);
          begin = 0;
        } else {
          from = x;
        }
        const char* error = with_full_product<scalar_t, Along::features>(columns, [&](auto product) {
          using P = decltype(product);
          const Tiling tiles = tiling(here, columns, P::kEdge);
          return launch(&multiply_pieces_kernel<P>, pieces * tiles.count(), P::kThreads, P::kSharedBytes, stream, tiles,
                        from, begin, here, factor_view, i0, i1, pieces_);
        });
        const Matrix<scalar_t> rest = {to.data + p * to.stride, to.stride};
        if (!error)
          error = each(&add_pieces_kernel<scalar_t>, here * columns, stream, pieces, columns, here * columns,
                       static_cast<const scalar_t*>(pieces_), i0 == 0, rest);
        if (error) return error;
      }
    }
    return nullptr;
  }

  const char* multiply(const Factor& factor, const Steps&, const Ids& a, int64_t p0, int64_t rows,
                       const Matrix<scalar_t>& to, void* stream) const {
    return each(&pick_kernel<scalar_t>, rows * factor.columns, stream, factor, a, s_.T, p0, rows, to);
  }

  const char* join(int64_t count, int64_t depth, bool fresh, scalar_t* out, void* stream) const {
    const View<scalar_t> left = left_.view(count * depth, of_out_.columns);
    const View<scalar_t> right = right_.view(count * depth, in_.columns);
    return with_full_product<scalar_t, Along::positions>(std::min(in_.columns, of_out_.columns), [&](auto product) {
      using P = decltype(product);
      const Tiling tiles = tiling(of_out_.columns, in_.columns, P::kEdge);
      const auto scale = static_cast<scalar_t>(1 / std::sqrt(static_cast<double>(k_)));
      return launch(&join_kernel<P>, count * tiles.count(), P::kThreads, P::kSharedBytes, stream, tiles, depth, left,
                    right, scale, fresh, out);
    });
  }

  const PairShape s_;
  const int64_t k_;
  Factor in_, of_out_;
  Steps in_steps_, of_out_steps_;
  int64_t samples_, depth_;        // whose products are held at once, and positions of each
  Matrix<scalar_t> left_, right_;  // b R_O, a R_I
  scalar_t *drawn_, *pieces_, *widened_;
};

}  // namespace infotorch::cuda
