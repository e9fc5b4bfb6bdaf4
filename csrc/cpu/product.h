// The matrix product under every kernel, on panels of pack.h: tile by tile, each tile in registers.
#pragma once

#include "pack.h"
#include "tile.h"

namespace infotorch::cpu {

constexpr int64_t kEverything = -(int64_t{1} << 62);  // a diagonal below every element

constexpr int64_t kDepth = 256;  // terms of a sum between two visits to the result: panels stay in cache

// Memory that will be read next, in order. Kernels ask for it line by line while they compute, which hides what a
// walk through rows in place would wait for.
struct Ahead {
  static constexpr int64_t kLine = 64;
  struct Span {
    const char* data = nullptr;
    int64_t lines = 0;
  };
  Span span[2];

  template <typename scalar_t>
  static Span of(const scalar_t* data, int64_t size) {
    return {reinterpret_cast<const char*>(data), size * static_cast<int64_t>(sizeof(scalar_t)) / kLine};
  }

  // The next `lines` of them, or nullptr.
  const char* take(int64_t lines) {
    for (Span& s : span)
      if (s.lines > 0) {
        const char* from = s.data;
        s.data += lines * kLine, s.lines -= lines;
        return from;
      }
    return nullptr;
  }
};

// out[r, c] = or += sum_k y[k, r] x[k, c], r < rows, c < cols, k < depth. Writes no column beyond `cols`, and leaves
// tiles that lie wholly below the diagonal c = r + diagonal as they are.
template <typename scalar_t>
void product(const Panel<scalar_t>& x, int64_t cols, const Panel<scalar_t>& y, int64_t rows, int64_t depth, bool add,
             scalar_t* out, int64_t out_stride, int64_t diagonal = kEverything, Ahead* next = nullptr) {
  const TileKernels<scalar_t>& kernels = tile_kernels<scalar_t>();
  const int64_t lanes = kernels.lanes, wide = 2 * lanes;
  const int64_t tiles = ceil_div(rows, kernels.rows), each = tiles ? ceil_div(rows, tiles) : 1;
  alignas(64) scalar_t edge[TileKernels<scalar_t>::kMaxRows * 2 * 64 / sizeof(scalar_t)];
  for (int64_t c = 0; c < cols; c += wide) {
    const int64_t here = std::min(wide, cols - c), vectors = here > lanes ? 2 : 1;
    for (int64_t r = 0; r < rows; r += each) {
      if (c + here <= r + diagonal) break;
      const int64_t tall = std::min(each, rows - r);
      const auto kernel = kernels.of[tall - 1][vectors - 1];
      scalar_t* to = out + r * out_stride + c;
      const char* ahead = next ? next->take(depth) : nullptr;
      const int64_t step = ahead ? Ahead::kLine : 0;
      if (!ahead) ahead = reinterpret_cast<const char*>(x.data + c);  // a line that is at hand
      if (here == vectors * lanes) {
        kernel(x.data + c, x.stride, y.data + r, y.stride, depth, add, to, out_stride, ahead, step);
        continue;
      }
      kernel(x.data + c, x.stride, y.data + r, y.stride, depth, false, edge, wide, ahead, step);
      for (int64_t k = 0; k < tall; ++k)
        for (int64_t j = 0; j < here; ++j)
          to[k * out_stride + j] = add ? to[k * out_stride + j] + edge[k * wide + j] : edge[k * wide + j];
    }
  }
}

}  // namespace infotorch::cpu
