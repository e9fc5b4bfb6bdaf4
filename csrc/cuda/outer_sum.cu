#include "outer_sum.h"
#include "splits.h"

namespace infotorch::cuda {
namespace {

constexpr int64_t kUnit = 64, kLeast = 256;  // positions

SplitSum split_of(int64_t first, int64_t positions, const Extent& size, bool symmetric, bool add, int edge) {
  const Tiling tiles = symmetric ? triangle(size.rows, edge) : tiling(size.rows, size.cols, edge);
  return {size, tiles, first, positions, kUnit, kLeast, add};
}

// Block (split, tile) sums its tile of y[p] (x) x[p] over its share of the positions.
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    outer_sum_kernel(const __grid_constant__ SplitSum split, const __grid_constant__ View<stored_t> y,
                     const __grid_constant__ View<stored_t> x, typename P::scalar_t* partial,
                     typename P::scalar_t* out) {
  const Tiling::Place tile = split.tile(blockIdx.x);
  typename P::Accumulator acc = {};
  P::add({y, tile.row * P::kEdge, y.features}, {x, tile.col * P::kEdge, x.features}, split.begin(blockIdx.x),
         split.end(blockIdx.x), acc);
  hand_on<P>(split, acc, partial, out);
}

}  // namespace

int64_t outer_sum_partials(int64_t positions, int64_t rows, int64_t cols, bool symmetric, int64_t bytes) {
  return split_of(0, positions, {rows, cols}, symmetric, false, cheaper_edge(rows, cols, most_edge(bytes))).partials();
}

template <typename scalar_t>
const char* outer_sum(int64_t N, const Rows<scalar_t>& y, const Rows<scalar_t>& x, bool symmetric, bool add,
                      scalar_t* partial, scalar_t* out, void* stream) {
  return with_views(
      [&](const auto& y_view, const auto& x_view) {
        using stored_t = typename std::decay_t<decltype(y_view)>::stored_t;
        return with_edge<stored_t, Along::positions>(y_view.features, x_view.features, [&](auto p) {
          using P = decltype(p);
          const Extent size = {y_view.features, x_view.features};
          const char* error = nullptr;
          for (int64_t p = 0; p < y_view.positions && !error;) {
            const SplitSum split = split_of(p, y_view.positions, size, symmetric, add || p > 0, P::kEdge);
            error = launch(&outer_sum_kernel<P, stored_t>, split.blocks(), P::kThreads, P::kSharedBytes, stream, split,
                           y_view, x_view, partial, out);
            if (!error) error = add_splits(split, partial, out, stream);
            p += split.terms;
          }
          return error;
        });
      },
      Stack{y, N}, Stack{x, N});
}

template const char* outer_sum(int64_t, const Rows<float>&, const Rows<float>&, bool, bool, float*, float*, void*);
template const char* outer_sum(int64_t, const Rows<double>&, const Rows<double>&, bool, bool, double*, double*, void*);

}  // namespace infotorch::cuda
