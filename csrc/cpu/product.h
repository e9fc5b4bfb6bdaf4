// The matrix product under every kernel, on panels of pack.h: tile by tile, each tile in registers.
#pragma once

#include "pack.h"
#include "tile.h"

namespace infotorch::cpu {

constexpr int64_t kEverything = -(int64_t{1} << 62);  // a diagonal below every element

constexpr int64_t kDepth = 256;  // terms of a sum between two visits to the result: panels stay in cache

// Panels that will be read next. Kernels ask for one column of cache lines at a time while they compute, which hides
// what a walk through rows in place would wait for.
struct Ahead {
  static constexpr int64_t kLine = 64;
  struct Columns {
    const char* data = nullptr;
    int64_t step = 0;  // bytes from a line to the next one below
    int64_t hop = 0;   // bytes from a column to the next
    int64_t count = 0;
  };

  // Memory walked through as it lies, `depth` lines for each kernel.
  static Columns linear(const void* data, int64_t bytes, int64_t depth) {
    const int64_t column = std::max<int64_t>(1, depth) * kLine;
    return {static_cast<const char*>(data), kLine, column, ceil_div(bytes, column)};
  }

  // A panel, of which a kernel walks through `depth` rows.
  template <typename scalar_t>
  static Columns of(const Panel<scalar_t>& panel, int64_t cols, int64_t depth) {
    const int64_t row = cols * sizeof(scalar_t), step = panel.stride * sizeof(scalar_t);
    if (step == row) return linear(panel.data, depth * row, depth);
    return {reinterpret_cast<const char*>(panel.data), step, kLine, ceil_div(row, kLine)};
  }

  void add(const Columns& columns) { parts[count++] = columns; }

  // The next column of lines; its `data` is nullptr after the last.
  Columns take() {
    while (first < count && parts[first].count == 0) ++first;
    if (first == count) return {};
    Columns& from = parts[first];
    const Columns column = from;
    from.data += from.hop;
    --from.count;
    return column;
  }

 private:
  static constexpr int kMost = 4;
  Columns parts[kMost];
  int first = 0, count = 0;
};

// out[r, c] = or += sum_k y[k, r] x[k, c], r < rows, c < cols, k < depth; with Into::squares the square of that is
// added to `squares`, which lie as out does. Writes no column beyond `cols`, and leaves tiles that lie wholly below the
// diagonal c = r + diagonal as they are.
template <typename scalar_t>
void product(const Panel<scalar_t>& x, int64_t cols, const Panel<scalar_t>& y, int64_t rows, int64_t depth, bool add,
             scalar_t* out, int64_t out_stride, int64_t diagonal = kEverything, Ahead* next = nullptr,
             Into into = Into::place, scalar_t* squares = nullptr) {
  const TileKernels<scalar_t>& kernels = tile_kernels<scalar_t>();
  const int64_t lanes = kernels.lanes, wide = 2 * lanes;
  alignas(64) scalar_t edge[TileKernels<scalar_t>::kMaxRows * 2 * 64 / sizeof(scalar_t)];

  // Columns c ... c + here of rows r0 ... r1, in tiles of nearly equal height.
  const auto band = [&](int64_t c, int64_t here, int64_t r0, int64_t r1) {
    const int64_t vectors = here > lanes ? 2 : 1;
    const int64_t tiles = ceil_div(r1 - r0, kernels.rows), each = tiles ? ceil_div(r1 - r0, tiles) : 1;
    for (int64_t r = r0; r < r1; r += each) {
      const int64_t tall = std::min(each, r1 - r);
      const auto kernel = kernels.of[tall - 1][vectors - 1];
      const int64_t at = r * out_stride + c;
      const Ahead::Columns column = next ? next->take() : Ahead::Columns();
      const char* ahead = column.data ? column.data : reinterpret_cast<const char*>(x.data + c);  // a line at hand
      if (here == vectors * lanes) {
        kernel(x.data + c, x.stride, y.data + r, y.stride, depth, add ? out + at : nullptr, into,
               (into == Into::squares ? squares : out) + at, out_stride, ahead, column.step);
        continue;
      }
      kernel(x.data + c, x.stride, y.data + r, y.stride, depth, nullptr, Into::place, edge, wide, ahead, column.step);
      for (int64_t k = 0; k < tall; ++k)
        for (int64_t j = 0; j < here; ++j) {
          const int64_t to = at + k * out_stride + j;
          const scalar_t value = add ? out[to] + edge[k * wide + j] : edge[k * wide + j];
          if (into == Into::squares)
            squares[to] += value * value;
          else
            out[to] = value;
        }
    }
  };

  const auto rows_above = [&](int64_t c) { return std::clamp<int64_t>(c - diagonal, 0, rows); };
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t here = std::min(wide, cols - c);
    const int64_t both = rows_above(c + std::min(here, lanes)), last = rows_above(c + here);
    band(c, here, 0, both);
    if (last > both) band(c + lanes, here - lanes, both, last);
  }
}

}  // namespace infotorch::cpu
