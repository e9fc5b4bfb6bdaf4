// Sums that several blocks share, because there are fewer tiles of the result than a GPU has room for: every block
// takes a part of the terms, and the parts are added from left to right.
#pragma once

#include <algorithm>

#include "edges.h"

namespace infotorch::cuda {

// Blocks that keep the largest GPUs busy. A constant, so that sums have one order on all of them.
constexpr int64_t kBusyBlocks = 256;

// That one number sums in a row: with more, their rounding would show in its last digits. Few under emulation, where
// small calls then take several launches.
#ifdef INFOTORCH_EMULATE
constexpr int64_t kMostTerms = 1;
#else
constexpr int64_t kMostTerms = 1 << 14;
#endif

struct Extent {
  int64_t rows, cols;
};

// A sum over terms in tiles of a result [rows, cols]; of a symmetric one those on and above the diagonal.
struct SplitSum {
  Extent size;
  Tiling tiles;
  int64_t first, terms, share, splits;  // of terms from `first` on; a split has `share` of them or fewer
  bool add;                             // to what the result held

  // The launch for the terms from `first` on, `all` of them or as many as its blocks may sum. `unit`: terms that are
  // not parted; `least`: those that outweigh another partial result.
  SplitSum(const Extent& size, const Tiling& tiles, int64_t first, int64_t all, int64_t unit, int64_t least, bool add)
      : size(size), tiles(tiles), first(first), add(add) {
    const int64_t wanted = ceil_div(kBusyBlocks, std::max<int64_t>(1, tiles.count()));
    terms = std::min(all - first, wanted * kMostTerms);
    share = ceil_div(ceil_div(terms, std::min(wanted, std::max<int64_t>(1, terms / least))), unit) * unit;
    splits = std::max<int64_t>(1, ceil_div(terms, std::max<int64_t>(1, share)));
  }

  int64_t blocks() const { return splits * tiles.count(); }
  int64_t partials() const { return splits == 1 ? 0 : blocks() * tiles.edge * tiles.edge; }

  __device__ __forceinline__ Tiling::Place tile(unsigned block) const {
    return tiles[block % static_cast<unsigned>(tiles.count())];
  }
  __device__ __forceinline__ int64_t begin(unsigned block) const {
    return first + static_cast<int64_t>(block / static_cast<unsigned>(tiles.count())) * share;
  }
  __device__ __forceinline__ int64_t end(unsigned block) const { return min(first + terms, begin(block) + share); }

  // The result's number at (row, col), and at its mirror image.
  template <typename scalar_t>
  __device__ __forceinline__ void put(int64_t row, int64_t col, scalar_t x, scalar_t* out) const {
    if (row >= size.rows || col >= size.cols || (tiles.triangle && row > col)) return;
    scalar_t* const to = out + row * size.cols + col;
    const scalar_t sum = add ? *to + x : x;
    *to = sum;
    if (tiles.triangle && row < col) out[col * size.cols + row] = sum;
  }
};

// Hands on a block's sums: to out if no other block has some of the same numbers.
template <typename P>
__device__ __forceinline__ void hand_on(const SplitSum& split, const typename P::Accumulator& acc,
                                        typename P::scalar_t* partial, typename P::scalar_t* out) {
  const unsigned block = anew(blockIdx.x);
  if (split.splits > 1) {
    typename P::scalar_t* const to = partial + static_cast<int64_t>(block) * P::kEdge * P::kEdge;
    return P::for_each(acc, [&](int row, int col, typename P::scalar_t x) { to[row * P::kEdge + col] = x; });
  }
  const Tiling::Place tile = split.tile(block);
  P::for_each(acc, [&](int row, int col, typename P::scalar_t x) {
    split.put(tile.row * P::kEdge + row, tile.col * P::kEdge + col, x, out);
  });
}

constexpr int kSplitThreads = 256;

// Block (tile, r) adds the splits of its numbers of the tile, a thread each.
template <typename scalar_t>
__global__ void __launch_bounds__(kSplitThreads)
    add_splits_kernel(const __grid_constant__ SplitSum split, const scalar_t* partial, scalar_t* out) {
  const int edge = split.tiles.edge;
  const int64_t area = static_cast<int64_t>(edge) * edge, all = area * split.tiles.count();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kSplitThreads + threadIdx.x;
  const Tiling::Place tile = split.tiles[at / area];
  scalar_t sum = 0;
  for (int64_t s = 0; s < split.splits; ++s) sum += partial[s * all + at];
  split.put(tile.row * edge + at % area / edge, tile.col * edge + at % edge, sum, out);
}

template <typename scalar_t>
const char* add_splits(const SplitSum& split, const scalar_t* partial, scalar_t* out, void* stream) {
  if (split.splits == 1) return nullptr;
  const int64_t numbers = split.partials() / split.splits;  // whole blocks: an edge is at least 32
  return launch(&add_splits_kernel<scalar_t>, numbers / kSplitThreads, kSplitThreads, 0, stream, split, partial, out);
}

}  // namespace infotorch::cuda
