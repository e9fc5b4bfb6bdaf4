// The noise of sampled gradients, a function of a seed, a step, a sample and a class. Plain C++ for host and device.
//
// What follows is a format: a training run is repeatable only as long as it stays.
//   Words 4m ... 4m + 3 of a sample are Philox's four output words for
//     key      seed mod 2^32,  seed / 2^32
//     counter  m,  step,  id mod 2^32,  id / 2^32
//   Class c takes word c = w, whose uniform number is (floor(w / 256) + 1/2) / 2^24 = U. Of position p of a sequence,
//   id is that of its sample times 2^20, plus p.
//   gaussian  classes 2h and 2h + 1 are the cosine and the sine of 2 pi U', times sqrt(-2 log U), with the uniforms of
//             words 2h and 2h + 1
//   laplace   -sign(r) log(1 - 2 |r|), r = U - 1/2
// all of unit scale and in float64.
#pragma once

#include "philox.h"

namespace infotorch {

enum class NoiseKind { gaussian, laplace, uniform, words };

constexpr int64_t kMostPositions = int64_t{1} << 20;

// What the words of a batch depend on.
struct NoiseKey {
  const int64_t* ids;  // [samples], of `positions` rows each; nullptr where nothing is drawn
  int64_t positions;
  uint64_t seed;
  uint32_t step;

  INFOTORCH_HOST_DEVICE uint64_t id(int64_t row) const {
    if (positions == 1) return static_cast<uint64_t>(ids[row]);
    return static_cast<uint64_t>(ids[row / positions]) * kMostPositions + static_cast<uint64_t>(row % positions);
  }
};

INFOTORCH_HOST_DEVICE inline Words noise_words(const NoiseKey& key, uint64_t id, int64_t block) {
  return philox({{static_cast<uint32_t>(block), key.step, static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)}},
                key.seed);
}

constexpr int kUniformBits = 24;  // as many as float32 has

INFOTORCH_HOST_DEVICE inline uint64_t uniform_bits(uint32_t word) { return word >> (32 - kUniformBits); }

// Classes 4 block ... 4 block + 3 of a row.
INFOTORCH_HOST_DEVICE inline void draw_noise(const NoiseKey& key, uint64_t id, int64_t block, NoiseKind kind,
                                             double (&to)[4]) {
  const Words drawn = noise_words(key, id, block);
  if (kind == NoiseKind::gaussian) {
    for (int h = 0; h < 4; h += 2) {
      const uint64_t u = uniform_bits(drawn.word[h]);
      const uint64_t v = uniform_bits(drawn.word[h + 1]) << (32 - kUniformBits) | 1 << (31 - kUniformBits);
      const BoxMuller<double> pair = box_muller<double, uint64_t>(u, v, kUniformBits);
      to[h] = sqrt(pair.square) * pair.cosine;
      to[h + 1] = sqrt(pair.square) * pair.sine;
    }
    return;
  }
  constexpr uint64_t last = (uint64_t{1} << kUniformBits) - 1;
  for (int w = 0; w < 4; ++w) {
    const uint64_t u = uniform_bits(drawn.word[w]);
    const bool below = u <= last / 2;  // then r < 0, and 1 - 2 |r| = 2 U, else 2 (1 - U)
    if (kind == NoiseKind::laplace) {
      const double log = log_of<double, uint64_t>(below ? u : last - u, kUniformBits - 1);
      to[w] = below ? log : -log;
    } else {
      to[w] = kind == NoiseKind::words ? drawn.word[w] : (static_cast<double>(u) + 0.5) * 0x1p-24;
    }
  }
}

}  // namespace infotorch
