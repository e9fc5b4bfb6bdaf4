// gram from formed gradients: G is formed some columns at a time, for some samples of each set, in scratch that stays
// in the second-level cache, and multiplied there.
#pragma once

#include "gram_positions.h"

namespace infotorch::cuda {

// Bytes of gradients held at once: less than that cache has on sm_80 and up.
constexpr int64_t kGradientBytes = int64_t{32} << 20;
// Samples of a set at once, so that what is held of each is no less than a tile of G.
constexpr int64_t kSampleBlock = 1024;

// What is held at once, and how it is shared out.
struct MaterializePlan {
  Tiling gradients;    // of G [O, I]
  int64_t rows, cols;  // samples of a block of results
  int64_t samples;     // whose gradients are held: of both, or of one if they are the same
  int64_t tiles;       // of G at once
  int64_t columns;     // numbers of G at once, a multiple of a chunk
  int edge;            // of tiles of results
  int64_t splits;      // blocks that share the depth of a tile of results
};

inline MaterializePlan materialize_plan(const PairShape& x, const PairShape& y, bool symmetric, int64_t bytes) {
  MaterializePlan plan = {};
  plan.rows = std::min(x.N, kSampleBlock), plan.cols = std::min(y.N, kSampleBlock);
  const bool one_block = symmetric && plan.rows == x.N;
  plan.samples = plan.rows + (one_block ? 0 : plan.cols);
  const int64_t budget = kGradientBytes / (plan.samples * bytes);
  const int most = budget >= 128 * 128 ? 128 : 64, edge = std::max(64, edge_of(std::min(x.I, x.O), bytes));
  plan.gradients = tiling(x.O, x.I, std::min(most, edge));
  const int64_t area = int64_t{plan.gradients.edge} * plan.gradients.edge;
  plan.tiles = std::clamp<int64_t>(budget / area, 1, plan.gradients.count());
  plan.columns = plan.tiles == plan.gradients.count() ? ceil_div(x.O * x.I, 8) * 8 : plan.tiles * area;
  plan.edge = edge_of(std::min(plan.rows, plan.cols), bytes);
  const int64_t blocks = tiling(plan.rows, plan.cols, plan.edge).count();
  plan.splits = std::clamp<int64_t>(plan.columns / 512, 1, ceil_div(kFullGrid, blocks));
  return plan;
}

// Numbers in scratch: gradients of both sets, then partial results [splits, rows, cols].
inline int64_t materialize_scratch(const MaterializePlan& plan) {
  return plan.samples * plan.columns + plan.splits * plan.rows * plan.cols;
}

// Where tile `tile` of G begins if its tiles lie one after another, each [its rows, its columns] without padding.
INFOTORCH_HOST_DEVICE inline int64_t gradient_place(const Tiling& tiles, int64_t O, int64_t I, int64_t tile) {
  const Tiling::Place at = tiles[tile];
  const int64_t begin = at.row * tiles.edge, left = O - begin;
  return begin * I + at.col * tiles.edge * (left < tiles.edge ? left : tiles.edge);
}

// Block (sample, tile) writes tile first + tile of G[n0 + sample] [O, I] to its place in to[sample, :].
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    form_kernel(int64_t T, Tiling tiles, int64_t first, int64_t count, int64_t n0, int64_t columns,
                const __grid_constant__ View<stored_t> a, const __grid_constant__ View<stored_t> b,
                typename P::scalar_t* to) {
  typename P::Accumulator g = {};
  {
    const int64_t n = n0 + blockIdx.x / count;
    const Tiling::Place at = tiles[first + blockIdx.x % count];
    P::add({b, at.row * P::kEdge, b.features}, {a, at.col * P::kEdge, a.features}, n * T, (n + 1) * T, g);
  }
  const int block = anew(blockIdx.x);
  const Tiling::Place at = tiles[first + block % count];
  const int height = static_cast<int>(min(b.features - at.row * P::kEdge, int64_t{P::kEdge}));
  const int width = static_cast<int>(min(a.features - at.col * P::kEdge, int64_t{P::kEdge}));
  to += block / count * columns + gradient_place(tiles, b.features, a.features, first + block % count) -
        gradient_place(tiles, b.features, a.features, first);
  P::for_each(g, [&](int row, int col, typename P::scalar_t value) {
    if (row < height && col < width) to[row * width + col] = value;
  });
}

// Block (tile, split) adds a share of columns of g g2^T to its tile of partial[split] [rows, cols], or begins with it.
template <typename P, typename scalar_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    multiply_kernel(Tiling tiles, int64_t splits, int64_t share, bool begin, const __grid_constant__ View<scalar_t> g,
                    const __grid_constant__ View<scalar_t> g2, scalar_t* partial) {
  const Tiling::Place at = tiles[blockIdx.x / splits];
  const int64_t split = blockIdx.x % splits, rows = g.positions, cols = g2.positions;
  const int64_t row0 = at.row * P::kEdge, col0 = at.col * P::kEdge;
  typename P::Accumulator acc = {};
  P::add({g, row0, rows}, {g2, col0, cols}, split * share, min((split + 1) * share, g.features), acc);
  partial += (split * rows + row0) * cols + col0;
  P::for_each(acc, [&](int row, int col, scalar_t value) {
    if (row0 + row >= rows || col0 + col >= cols) return;
    scalar_t* const sum = partial + row * cols + col;
    *sum = begin ? value : *sum + value;
  });
}

template <typename stored_t, typename scalar_t>
class MaterializedGram {
 public:
  // 16-bit inputs make sums that 16 bits don't hold: they are multiplied as tf32, whose 11 bits are theirs or more.
  MaterializedGram(const PairShape& x, const PairShape& y, const Sides<stored_t>& sides, bool tf32, scalar_t* scratch,
                   const Results<scalar_t>& results, void* stream)
      : x_(x),
        y_(y),
        sides_(sides),
        tf32_(tf32),
        results_(results),
        stream_(stream),
        plan_(materialize_plan(x, y, results.symmetric, sizeof(scalar_t))),
        g_(scratch),
        g2_(g_ + plan_.rows * plan_.columns),
        partial_(g_ + plan_.samples * plan_.columns) {}

  const char* operator()() const {
    const char* error = nullptr;
    for (int64_t n0 = 0; n0 < x_.N && !error; n0 += plan_.rows)
      for (int64_t m0 = results_.symmetric ? n0 : 0; m0 < y_.N && !error; m0 += plan_.cols)
        error = block(n0, std::min(plan_.rows, x_.N - n0), m0, std::min(plan_.cols, y_.N - m0));
    return error;
  }

 private:
  const char* block(int64_t n0, int64_t rows, int64_t m0, int64_t cols) const {
    const bool diagonal = results_.symmetric && n0 == m0;
    const char* error = nullptr;
    for (int64_t first = 0; first < plan_.gradients.count() && !error; first += plan_.tiles) {
      const int64_t count = std::min(plan_.tiles, plan_.gradients.count() - first);
      error = form(x_, sides_.a.rows, sides_.b, n0, rows, first, count, g_);
      if (!error && !diagonal) error = form(y_, sides_.a2.rows, sides_.b2, m0, cols, first, count, g2_);
      if (!error) error = multiply(rows, cols, first, count, diagonal);
    }
    return error ? error : add_splits<scalar_t>(plan_.splits, partial_, n0, m0, rows, cols, results_, stream_);
  }

  const char* form(const PairShape& s, const View<stored_t>& a, const View<stored_t>& b, int64_t n0, int64_t samples,
                   int64_t first, int64_t count, scalar_t* to) const {
    return with_product<stored_t, Along::positions, 64>(plan_.gradients.edge, tf32_, [&](auto product) {
      using P = decltype(product);
      return launch(&form_kernel<P, stored_t>, samples * count, P::kThreads, P::kSharedBytes, stream_, s.T,
                    plan_.gradients, first, count, n0, plan_.columns, a, b, to);
    });
  }

  const char* multiply(int64_t rows, int64_t cols, int64_t first, int64_t count, bool diagonal) const {
    const auto place = [&](int64_t tile) {
      return tile == plan_.gradients.count() ? x_.O * x_.I : gradient_place(plan_.gradients, x_.O, x_.I, tile);
    };
    const int64_t width = place(first + count) - place(first);
    const auto view = [&](const scalar_t* g, int64_t samples) {
      Rows<scalar_t> x = {g, Storage::same, plan_.columns, {}, {}, false};
      x.t.append(1, 1);
      x.i.append(width, 1);
      return rows::view<scalar_t>(x, samples);
    };
    const View<scalar_t> g = view(g_, rows), g2 = diagonal ? g : view(g2_, cols);
    const Tiling tiles = {plan_.edge, ceil_div(rows, plan_.edge), ceil_div(cols, plan_.edge), diagonal};
    const int64_t share = ceil_div(ceil_div(width, plan_.splits), 16) * 16;
    return with_product<scalar_t, Along::features>(plan_.edge, tf32_ || sizeof(stored_t) == 2, [&](auto product) {
      using P = decltype(product);
      return launch(&multiply_kernel<P, scalar_t>, tiles.count() * plan_.splits, P::kThreads, P::kSharedBytes, stream_,
                    tiles, plan_.splits, share, first == 0, g, g2, partial_);
    });
  }

  const PairShape x_, y_;
  const Sides<stored_t> sides_;
  const bool tf32_;
  const Results<scalar_t> results_;
  void* const stream_;
  const MaterializePlan plan_;
  scalar_t *const g_, *const g2_, *const partial_;
};

}  // namespace infotorch::cuda
