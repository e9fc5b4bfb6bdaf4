// Rows copied to scratch, changed on the way, where a product needs something else than memory holds: numbers of 16
// bits that are multiplied by such of 32, squares, weighted rows, sums over positions. A bias becomes a feature like
// any other.
//
//   staged_numbers(positions, features)             room that they need, in numbers
//   stage(change, x, N, w, to, staged, stream)      `staged`: the same as rows of one sample, widened
#pragma once

#include <utility>

#include "rows.h"
#include "tiles.h"

namespace infotorch::cuda {

enum class Change {
  none,
  square,
  weigh,  // by w[n]
  sum     // over the positions of each sample, of which one is left
};

constexpr int kStageThreads = 256, kStageRows = 16;  // of a block; of a thread

// Lines of the staged matrix, along the fast axis of memory, and the blocks that write them.
struct StageLayout {
  int64_t length, lines, stride;  // stride: whole chunks, so that a product may read them at once
  int log_width;                  // lanes along a line
  int64_t across;                 // blocks

  __host__ __device__ int width() const { return 1 << log_width; }
  __host__ __device__ int height() const { return kStageThreads >> log_width; }
  int64_t blocks() const { return across * ceil_div(lines, height() * kStageRows); }
};

inline StageLayout stage_layout(int64_t lines, int64_t length) {
  constexpr int64_t chunk = kChunk<float>;
  StageLayout layout = {length, lines, ceil_div(length, chunk) * chunk, 5, 0};
  while (layout.width() < length && layout.width() < kStageThreads) ++layout.log_width;
  layout.across = ceil_div(length, layout.width());
  return layout;
}

inline int64_t staged_numbers(int64_t positions, int64_t features) {
  return std::max(stage_layout(positions, features).stride * positions,
                  stage_layout(features, positions).stride * features);
}

// Block (r, c) writes its piece of the staged matrix, in the order of memory.
template <Change kChange, typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kStageThreads)
    stage_kernel(StageLayout layout, int64_t T, const __grid_constant__ View<stored_t> x, const scalar_t* w,
                 scalar_t* to) {
  const int64_t k = blockIdx.x % layout.across * layout.width() + threadIdx.x % layout.width();
  const int64_t first = blockIdx.x / layout.across * layout.height() * kStageRows + threadIdx.x / layout.width();
  const bool by_position = x.fast == Along::features;  // a line is a position's features, or a feature's positions
  if (k >= layout.length) return;
  for (int r = 0; r < kStageRows; ++r) {
    const int64_t line = first + r * layout.height();
    if (line >= layout.lines) return;
    const int64_t p = by_position ? line : k, i = by_position ? k : line;
    const bool ones = x.bias && i == x.features - 1;
    const stored_t* const feature = x.data + (ones ? 0 : offset(x.i, i));
    const auto at = [&](int64_t position) { return ones ? scalar_t(1) : widen(feature[offset(x.p, position)]); };
    scalar_t value = 0;
    if constexpr (kChange == Change::sum) {
      for (int64_t t = 0; t < T; ++t) value += at(p * T + t);
    } else {
      value = at(p);
      if constexpr (kChange == Change::square) value *= value;
      if constexpr (kChange == Change::weigh) value *= w[p / T];
    }
    to[line * layout.stride + k] = value;
  }
}

template <Change kChange, typename scalar_t>
const char* stage(const Rows<scalar_t>& x, int64_t N, const scalar_t* w, scalar_t* to, Rows<scalar_t>& staged,
                  void* stream) {
  const int64_t T = x.t.total();
  return with_views(
      [&](const auto& view) {
        using stored_t = typename std::decay_t<decltype(view)>::stored_t;
        const int64_t positions = kChange == Change::sum ? N : view.positions;
        const bool by_position = view.fast == Along::features;
        const StageLayout layout =
            by_position ? stage_layout(positions, view.features) : stage_layout(view.features, positions);
        staged = {to, Storage::same, 0, {}, {}};
        staged.t.append(positions, by_position ? layout.stride : 1);
        staged.i.append(view.features, by_position ? 1 : layout.stride);
        return launch(&stage_kernel<kChange, stored_t, scalar_t>, layout.blocks(), kStageThreads, 0, stream, layout, T,
                      view, w, to);
      },
      Stack{x, N});
}

}  // namespace infotorch::cuda
