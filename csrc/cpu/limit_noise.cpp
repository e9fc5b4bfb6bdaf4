#include "../limit_noise.h"

#include "limit_row.h"

namespace infotorch::cpu {
namespace {

template <typename scalar_t>
void fill(const NoiseKey& key, int64_t n, int64_t C, NoiseKind kind, double scale, scalar_t* to) {
  double four[4];
  for (int64_t c = 0; c < C; c += 4) {
    draw_noise(key, key.id(n), c / 4, kind, four);
    for (int64_t k = 0; k < std::min<int64_t>(4, C - c); ++k) to[c + k] = static_cast<scalar_t>(scale * four[k]);
  }
}

}  // namespace

void fill_noise(const NoiseKey& key, int64_t n, int64_t C, NoiseKind kind, double scale, float* to) {
  fill(key, n, C, kind, scale, to);
}

void fill_noise(const NoiseKey& key, int64_t n, int64_t C, NoiseKind kind, double scale, double* to) {
  fill(key, n, C, kind, scale, to);
}

}  // namespace infotorch::cpu
