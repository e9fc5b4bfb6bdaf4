// How matrices are cut into the square tiles of product.h, and what they cost. Plain C++, for the seams' cost rules
// too: everything follows from shapes, so that equal shapes take equal routes and sum in equal orders.
#pragma once

#include <cmath>
#include <cstdint>

#include "../half.h"

namespace infotorch::cuda {

constexpr int kEdges[] = {128, 64, 32};

// Edges that a number computed in `bytes` may have: 128 x 128 sums of double don't fit a thread's registers.
constexpr int most_edge(int64_t bytes) { return bytes == sizeof(double) ? 64 : 128; }

INFOTORCH_HOST_DEVICE constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

// Time of a multiply-add in a tile, as shared memory sets it: numbers that a warp reads for each of its products, for
// warps' tiles of 32 x 64, 32 x 32 and 16 x 16, in units of the largest's.
constexpr double edge_weight(int edge) { return edge == 128 ? 1 : edge == 64 ? 4. / 3 : 8. / 3; }

// The smallest edge that holds `size`, else the largest there is.
constexpr int edge_of(int64_t size, int64_t bytes) {
  return size <= 32 ? 32 : size <= 64 || most_edge(bytes) == 64 ? 64 : 128;
}

// One matrix in tiles, row of tiles after row of tiles; or of a square one those on and above the diagonal.
struct Tiling {
  int edge;
  int64_t down, across;
  bool triangle;

  INFOTORCH_HOST_DEVICE int64_t count() const { return triangle ? down * (down + 1) / 2 : down * across; }
  double work() const { return edge_weight(edge) * edge * edge * count(); }  // for a depth of 1

  struct Place {
    int64_t row, col;  // of tiles
  };
  INFOTORCH_HOST_DEVICE Place operator[](int64_t tile) const {
    // A grid has fewer than 2^31 tiles, and a division of 64 bits is a call, around which registers are spilled.
    const auto index = static_cast<uint32_t>(tile), width = static_cast<uint32_t>(across);
    if (!triangle) return {index / width, index % width};
    // From the last tile backwards, the row of r + 1 tiles begins at r (r + 1) / 2. The root is off by one at most.
    const int64_t back = count() - 1 - tile;
    auto r = static_cast<int64_t>((std::sqrt(8.f * static_cast<float>(back) + 1) - 1) / 2);
    if (r * (r + 1) / 2 > back) --r;
    if ((r + 1) * (r + 2) / 2 <= back) ++r;
    return {down - 1 - r, down - 1 - back + r * (r + 1) / 2};
  }
};

inline Tiling tiling(int64_t rows, int64_t cols, int edge) {
  return {edge, ceil_div(rows, edge), ceil_div(cols, edge), false};
}
inline Tiling triangle(int64_t size, int edge) { return {edge, ceil_div(size, edge), ceil_div(size, edge), true}; }

}  // namespace infotorch::cuda
