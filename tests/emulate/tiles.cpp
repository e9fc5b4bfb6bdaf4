// Where tiles on and above the diagonal lie, for test_tiles.py: of tiles b, [row, column].
#include "../../csrc/cuda/tiles.h"

#include "driver.h"

namespace infotorch {
namespace {

void places(Call& call) {
  const cuda::Tiling tiles = cuda::triangle(call.number("size"), 1);
  const int64_t count = call.array("b").size[0];
  const auto* const tile = call.data<int64_t>("b");
  auto* out = call.result<int64_t>(2 * count);
  for (int64_t k = 0; k < count; ++k) {
    const cuda::Tiling::Place place = tiles[tile[k]];
    *out++ = place.row;
    *out++ = place.col;
  }
}

const Entry entry("tiles", places, places);

}  // namespace
}  // namespace infotorch
