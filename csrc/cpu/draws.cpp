#include "draws.h"

#include <algorithm>

#include "simd.h"
#include "tile.h"

namespace infotorch::cpu {
namespace {

template <int64_t bytes>
using Bits = typename Lanes<uint64_t, bytes>::type;

// The products of every lane's lower half. The compiler has no operator for them, and multiplies whole lanes instead,
// which takes three times as long.
template <int64_t bytes>
INFOTORCH_INLINE Bits<bytes> low_product(Bits<bytes> x, Bits<bytes> y) {
#if INFOTORCH_HAS_CLONES
  if constexpr (bytes == 16)
    asm("pmuludq %1, %0" : "+x"(x) : "x"(y));
  else
    asm("vpmuludq %2, %1, %0" : "=v"(x) : "v"(x), "v"(y));
  return x;
#else
  return (x & 0xffffffff) * (y & 0xffffffff);
#endif
}

// One block of words to a lane, each in the lower half of a lane of word[w]; what the upper halves hold does not
// matter.
template <int64_t bytes>
struct WordLanes {
  Bits<bytes> word[4];

  INFOTORCH_INLINE WordLanes(const Source& source, Draw draw, Bits<bytes> block) {
    const Bits<bytes> none = {}, first = none + 0xD2511F53, second = none + 0xCD9E8D57;
    const Words fixed = counter_of(source, draw, 0);
    word[0] = block;
    word[1] = (block >> 32) | fixed.word[1];
    word[2] = none + fixed.word[2];
    word[3] = none + fixed.word[3];
    auto k0 = static_cast<uint32_t>(source.seed), k1 = static_cast<uint32_t>(source.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const Bits<bytes> p = low_product<bytes>(word[0], first), q = low_product<bytes>(word[2], second);
      word[0] = (q >> 32) ^ word[1] ^ k0;
      word[2] = (p >> 32) ^ word[3] ^ k1;
      word[1] = q;
      word[3] = p;
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
  }

  // Entries of the even (half = 0) or odd elements of every block.
  INFOTORCH_INLINE Bits<bytes> entries(int half, uint64_t k) const {
    const Bits<bytes> bucket = low_product<bytes>(word[2 * half], Bits<bytes>{} + k) >> 32;
    return bucket | (word[2 * half + 1] & 1) << 31;
  }
};

template <int64_t bytes>
INFOTORCH_INLINE Bits<bytes> count_up() {
  Bits<bytes> lane = {};
#pragma GCC unroll 8
  for (int64_t k = 0; k < bytes / 8; ++k) lane[k] = k;
  return lane;
}

// Calls make(block, to) for groups of blocks until they cover numbers j ... j + count of a stream, and puts these where
// they belong: a group makes `size` numbers, `each` from a block.
template <int64_t size, int64_t each, typename number_t, typename Make>
INFOTORCH_INLINE void in_groups(uint64_t j, int64_t count, number_t* to, const Make& make) {
  alignas(64) number_t group[size];
  for (int64_t skip = j % each, q = -skip; q < count; q += size) {
    const uint64_t block = (j + q) / each;
    if (q >= 0 && q + size <= count) {
      make(block, to + q);
      continue;
    }
    make(block, group);
    std::copy(group + std::max<int64_t>(0, -q), group + std::min(size, count - q), to + std::max<int64_t>(0, q));
  }
}

template <int64_t bytes>
INFOTORCH_INLINE void entries(Source source, uint64_t j, uint64_t step, int64_t count, uint64_t k, Entry* to) {
  constexpr int64_t lanes = bytes / 8;
  const Bits<bytes> lane = count_up<bytes>();
  if (step == 1)  // both elements of every block
    return in_groups<2 * lanes, 2>(j, count, to, [&](uint64_t block, Entry* group) {
      const WordLanes<bytes> drawn(source, Draw::bucket, lane + block);
      store(group, drawn.entries(0, k) | drawn.entries(1, k) << 32);  // x86 and ARM are little-endian
    });
  for (int64_t q = 0; q < count; q += lanes) {
    const Bits<bytes> element = j + (lane + q) * step;
    const WordLanes<bytes> drawn(source, Draw::bucket, element >> 1);
    const Bits<bytes> found = (element & 1) != 0 ? drawn.entries(1, k) : drawn.entries(0, k);
    for (int64_t l = 0; l < std::min(lanes, count - q); ++l) to[q + l] = static_cast<Entry>(found[l]);
  }
}

// Every lane in float32, its bits in the lower half.
template <int64_t bytes, typename real_t>
INFOTORCH_INLINE Bits<bytes> single(const real_t& x) {
  const auto rounded = __builtin_convertvector(x, typename Lanes<float, bytes / 2>::type);
  return __builtin_convertvector((typename Lanes<uint32_t, bytes / 2>::type) rounded, Bits<bytes>);
}

// Lanes first, first + 1, ... of one and other in turns.
template <int64_t bytes, int64_t... k>
INFOTORCH_INLINE Bits<bytes> in_turns(const Bits<bytes>& one, const Bits<bytes>& other, int64_t first,
                                      std::integer_sequence<int64_t, k...>) {
  constexpr int64_t lanes = sizeof...(k);
  const typename Lanes<int64_t, bytes>::type turns = {(k / 2 + k % 2 * lanes)...};
  return __builtin_shuffle(one, other, turns + first);
}

template <int64_t bytes>
INFOTORCH_INLINE void normals(Source source, Draw factor, uint64_t j, int64_t count, float* to) {
  using real_t = typename Lanes<double, bytes>::type;
  constexpr int64_t lanes = bytes / 8;
  constexpr auto each = std::make_integer_sequence<int64_t, lanes>();
  const Bits<bytes> lane = count_up<bytes>();
  in_groups<4 * lanes, 4>(j, count, to, [&](uint64_t block, float* group) {
    const WordLanes<bytes> drawn(source, factor, lane + block);
    Bits<bytes> pairs[2];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Bits<bytes> u = drawn.word[2 * half] & 0xffffffff, v = drawn.word[2 * half + 1] & 0xffffffff;
      const BoxMuller<real_t> pair = box_muller<real_t, Bits<bytes>>(u, v);
      real_t radius = {};
#pragma GCC unroll 8
      for (int64_t l = 0; l < lanes; ++l) radius[l] = __builtin_sqrt(pair.square[l]);
      pairs[half] = single<bytes>(radius * pair.cosine) | single<bytes>(radius * pair.sine) << 32;
    }
    store(group, in_turns<bytes>(pairs[0], pairs[1], 0, each));
    store(group + 2 * lanes, in_turns<bytes>(pairs[0], pairs[1], lanes / 2, each));
  });
}

// Both for registers of BYTES, compiled with ATTRIBUTE.
#define INFOTORCH_DRAWS(NAME, BYTES, ATTRIBUTE)                                                                        \
  ATTRIBUTE __attribute__((flatten)) void entries_##NAME(const Source& source, uint64_t j, uint64_t step,              \
                                                         int64_t count, uint64_t k, Entry* to) {                       \
    entries<BYTES>(source, j, step, count, k, to);                                                                     \
  }                                                                                                                    \
  ATTRIBUTE __attribute__((flatten)) void normals_##NAME(const Source& source, Draw factor, uint64_t j, int64_t count, \
                                                         float* to) {                                                  \
    normals<BYTES>(source, factor, j, count, to);                                                                      \
  }

#if INFOTORCH_HAS_CLONES
INFOTORCH_DRAWS(v4, 64, __attribute__((target("arch=x86-64-v4"))))
INFOTORCH_DRAWS(v3, 32, __attribute__((target("arch=x86-64-v3"))))
#endif
INFOTORCH_DRAWS(any, 16, )

}  // namespace

void draw_entries(const Source& source, uint64_t j, uint64_t step, int64_t count, int64_t k, Entry* to) {
#if INFOTORCH_HAS_CLONES
  if (vector_bytes() == 64) return entries_v4(source, j, step, count, k, to);
  if (vector_bytes() == 32) return entries_v3(source, j, step, count, k, to);
#endif
  entries_any(source, j, step, count, k, to);
}

void draw_normals(const Source& source, Draw factor, uint64_t j, int64_t count, float* to) {
#if INFOTORCH_HAS_CLONES
  if (vector_bytes() == 64) return normals_v4(source, factor, j, count, to);
  if (vector_bytes() == 32) return normals_v3(source, factor, j, count, to);
#endif
  normals_any(source, factor, j, count, to);
}

void draw_normals(const Source& source, Draw factor, uint64_t j, int64_t count, double* to) {
  constexpr int64_t most = 256;
  float some[most];
  for (int64_t q = 0; q < count; q += most) {
    const int64_t here = std::min(most, count - q);
    draw_normals(source, factor, j + q, here, some);
    std::copy(some, some + here, to + q);
  }
}

}  // namespace infotorch::cpu
