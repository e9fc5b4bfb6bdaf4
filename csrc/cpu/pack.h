// The one place that knows how rows lie in memory (dense, strided, patches of a convolution, in 16 bits, with a bias):
// it shows a tile of them as a panel, in place where they already lie as one, and that is all that products see.
#pragma once

#include <algorithm>
#include <new>

#include "../pair.h"

namespace infotorch::cpu {

constexpr int64_t kPad = 16;  // panels may be read up to a multiple of so many columns: a whole number of vectors

constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
constexpr int64_t padded(int64_t cols) { return ceil_div(cols, kPad) * kPad; }

// A stride for packed panels: an odd number of 64-byte lines, so that rows don't compete for the same cache sets.
constexpr int64_t panel_stride(int64_t cols) { return padded(cols) | kPad; }

// Uninitialised numbers on a cache line's boundary.
template <typename scalar_t>
struct Scratch {
  explicit Scratch(int64_t size)
      : data(static_cast<scalar_t*>(operator new(size * sizeof(scalar_t), std::align_val_t(64)))) {}
  ~Scratch() { operator delete(data, std::align_val_t(64)); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  scalar_t* const data;
};

// [depth, cols], rows `stride` apart.
template <typename scalar_t>
struct Panel {
  const scalar_t* data;
  int64_t stride;
  Panel at(int64_t k, int64_t c) const { return {data + k * stride + c, stride}; }
  Panel shifted(int64_t by) const { return {data + by, stride}; }
};

// to[r * to_stride + c] = from[r * r_stride + c * c_stride]; numbers stored in 16 bits are widened.
template <typename stored_t, typename scalar_t>
void copy_block(const stored_t* from, int64_t r_stride, int64_t c_stride, int64_t rows, int64_t cols, scalar_t* to,
                int64_t to_stride);

// What lies above the diagonal of rows r0 ... and columns c0 ..., on the diagonal (a square) or wholly above it, goes
// to its mirror image below.
template <typename scalar_t>
void mirror_tile(scalar_t* x, int64_t stride, int64_t r0, int64_t rows, int64_t c0, int64_t cols);

// A block as above, of elements r0 ... of one of x's axes by c0 ... of the other, of sample n, found run by run.
template <typename scalar_t>
void gather_tile(const Rows<scalar_t>& x, int64_t n, const Axes& r_axes, int64_t r0, int64_t rows, const Axes& c_axes,
                 int64_t c0, int64_t cols, scalar_t* to, int64_t to_stride);

// Whether so small blocks lie one stride apart, as those of most patches do, that finding each outweighs copying it.
inline bool lie_scattered(const Axes& r_axes, const Axes& c_axes) {
  constexpr int64_t short_run = 4, small_block = 256;
  const int64_t r_run = r_axes.run(0), c_run = c_axes.run(0);
  return c_axes.count > 1 && (c_run < short_run || (r_axes.count > 1 && r_run * c_run < small_block));
}

// The same.
template <typename scalar_t>
void copy_tile(const Rows<scalar_t>& x, int64_t n, const Axes& r_axes, int64_t r0, int64_t rows, const Axes& c_axes,
               int64_t c0, int64_t cols, scalar_t* to, int64_t to_stride) {
  if (lie_scattered(r_axes, c_axes)) return gather_tile(x, n, r_axes, r0, rows, c_axes, c0, cols, to, to_stride);
  for_storage(x, [&](const auto* from) {
    for (int64_t r = 0, r_run; r < rows; r += r_run) {
      r_run = std::min(rows - r, r_axes.run(r0 + r));
      for (int64_t c = 0, c_run; c < cols; c += c_run) {
        c_run = std::min(cols - c, c_axes.run(c0 + c));
        copy_block(from + n * x.n_stride + r_axes.offset(r0 + r) + c_axes.offset(c0 + c), r_axes.step(), c_axes.step(),
                   r_run, c_run, to + r * to_stride + c, to_stride);
      }
    }
  });
}

// Features c0 ... of positions t0 ... of sample n, to[k * stride + c]; the bias is the last feature. Columns up to a
// multiple of kPad are zero.
template <typename scalar_t>
void pack_features(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t depth, int64_t c0, int64_t cols,
                   scalar_t* to, int64_t stride) {
  const int64_t real = std::clamp<int64_t>(x.i.total() - c0, 0, cols);  // beyond them comes the bias
  copy_tile(x, n, x.t, t0, depth, x.i, c0, real, to, stride);
  for (int64_t k = 0; k < depth; ++k) {
    std::fill(to + k * stride + real, to + k * stride + cols, scalar_t(1));
    std::fill(to + k * stride + cols, to + k * stride + padded(cols), scalar_t(0));
  }
}

// Whether panels of so many rows are read well in place. Rows a multiple of some lines apart fall into few of a
// first-level cache's 64 sets, and a strip of them then doesn't stay there, unless they form one piece.
template <typename scalar_t>
bool reads_well(int64_t stride, int64_t cols, int64_t depth) {
  constexpr int64_t line = 64 / sizeof(scalar_t),
                    ways = 4;  // half of a cache of 8, the other half is the other panel's
  const int64_t lines = stride / line, shared = lines & -lines;
  return stride == cols || stride % line || depth * shared <= 64 * ways;
}

// Where features c0 ... of positions t0 ... of sample n lie, rows of a panel that can be read in place; data is nullptr
// if they don't lie so.
template <typename scalar_t>
Panel<scalar_t> in_place(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t c0, int64_t cols) {
  const bool dense = x.storage == Storage::same && x.t.count == 1 && x.i.count == 1 && x.i.step() == 1;
  if (!dense || c0 + cols > x.i.total()) return {nullptr, 0};
  return {x.template as<scalar_t>() + n * x.n_stride + t0 * x.t.step() + c0, x.t.step()};
}

// The same as a panel, in place if that is possible and good. Columns up to a multiple of `pad` (1 or kPad) may be
// read.
template <typename scalar_t>
Panel<scalar_t> features(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t depth, int64_t c0, int64_t cols,
                         int64_t pad, scalar_t* scratch) {
  const Panel<scalar_t> lying = in_place(x, n, t0, c0, cols);
  if (lying.data && cols % pad == 0 && reads_well<scalar_t>(lying.stride, cols, depth)) return lying;
  pack_features(x, n, t0, depth, c0, cols, scratch, panel_stride(cols));
  return {scratch, panel_stride(cols)};
}

// Positions t0 ... of sample n as `cols` columns of a panel of `depth` features from k0 on, to[k * stride + c].
template <typename scalar_t>
void pack_positions(const Rows<scalar_t>& x, int64_t n, int64_t t0, int64_t cols, int64_t k0, int64_t depth,
                    scalar_t* to, int64_t stride) {
  const int64_t real = std::clamp<int64_t>(x.i.total() - k0, 0, depth);
  copy_tile(x, n, x.i, k0, real, x.t, t0, cols, to, stride);
  for (int64_t k = real; k < depth; ++k) std::fill(to + k * stride, to + k * stride + cols, scalar_t(1));
}

}  // namespace infotorch::cpu
