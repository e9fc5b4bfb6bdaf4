// The random numbers of sketches: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011), a function of a counter and a key without any state. Plain C++ for host and device.
//
// What follows is a format. Stored sketches are comparable only as long as it stays, so it never changes:
//   A sketch has a 64-bit seed and a name, and three streams of 32-bit words each, the `Draw`s. Words 4m ... 4m + 3 of
//   a stream are Philox's four output words for
//     key      seed mod 2^32,  seed / 2^32
//     counter  m mod 2^32,  m / 2^32 (30 bits) + draw * 2^30,  hash mod 2^32,  hash / 2^32
//   where hash is the 64-bit FNV-1a of the name's UTF-8 bytes.
//   Element j of a weight [O, I] is (o, i) with j = o I + i. It takes words 2j and 2j + 1 of the stream `bucket`: its
//   bucket is (word 2j) * k / 2^32 rounded down, its sign is - if word 2j + 1 is odd. The bias of out-feature o is
//   element O I + o: I never counts the bias, so no other element changes with it.
//   Normal number j of a factor [features, columns] is (feature, column) with j = feature * columns + column; the bias
//   is feature I of the in-factor. Numbers 2h and 2h + 1 take words 2h = u and 2h + 1 = v of the factor's stream and
//   are the cosine and the sine of 2 pi v / 2^32, times sqrt(-2 log((u + 1/2) / 2^32)), in float64 rounded to float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "half.h"  // INFOTORCH_HOST_DEVICE

namespace infotorch {

struct Words {
  uint32_t word[4];
};

INFOTORCH_HOST_DEVICE inline Words philox(Words counter, uint64_t key) {
  auto [c0, c1, c2, c3] = counter.word;
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t{0xD2511F53} * c0, q = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(q >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(q);
    c3 = static_cast<uint32_t>(p);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// FNV-1a of 64 bits.
INFOTORCH_HOST_DEVICE inline uint64_t hash_of(const char* name, int64_t size) {
  uint64_t hash = 0xcbf29ce484222325;
  for (int64_t k = 0; k < size; ++k) hash = (hash ^ static_cast<unsigned char>(name[k])) * 0x100000001b3;
  return hash;
}

enum class Draw : uint32_t { bucket = 0, in_factor = 1, out_factor = 2 };

// What the words of a sketch depend on.
struct Source {
  uint64_t seed, hash;
};

INFOTORCH_HOST_DEVICE inline Words counter_of(const Source& source, Draw draw, uint64_t block) {
  return {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32) | static_cast<uint32_t>(draw) << 30,
           static_cast<uint32_t>(source.hash), static_cast<uint32_t>(source.hash >> 32)}};
}

// Words 4 block ... 4 block + 3.
INFOTORCH_HOST_DEVICE inline Words words(const Source& source, Draw draw, uint64_t block) {
  return philox(counter_of(source, draw, block), source.seed);
}

// Words 0 and 1, or 2 and 3. To index words would take them out of a GPU's registers.
struct TwoWords {
  uint32_t first, second;
};

INFOTORCH_HOST_DEVICE inline TwoWords half_of(const Words& all, bool upper) {
  if (upper) return {all.word[2], all.word[3]};
  return {all.word[0], all.word[1]};
}

// Where an element of a gradient goes: its bucket, below 2^31, and its sign, - if `kMinus` is set.
using Entry = uint32_t;
constexpr Entry kMinus = Entry{1} << 31;

INFOTORCH_HOST_DEVICE inline Entry entry(const Source& source, uint64_t j, int64_t k) {
  const TwoWords drawn = half_of(words(source, Draw::bucket, j / 2), j % 2 > 0);
  return static_cast<Entry>(uint64_t{drawn.first} * static_cast<uint64_t>(k) >> 32) | drawn.second << 31;
}

// A pair of independent normal numbers is sqrt(square) * (cosine, sine).
template <typename real_t>
struct BoxMuller {
  real_t square, cosine, sine;
};

template <typename to_t, typename from_t>
INFOTORCH_HOST_DEVICE inline to_t same_bits(const from_t& x) {
  to_t y;
  memcpy(&y, &x, sizeof(y));
  return y;
}

// An integer below 2^52 as a real number: its bits are the fraction of one in [2^52, 2^53).
template <typename real_t, typename bits_t>
INFOTORCH_HOST_DEVICE inline real_t real_of(const bits_t& x) {
  return same_bits<real_t, bits_t>(x | uint64_t{0x4330000000000000}) - 0x1p52;
}

// u and v are words in 64-bit integers; real_t is double, or both are vectors. There is no library's log, sine or
// cosine here, whose last bits differ between machines.
template <typename real_t, typename bits_t>
INFOTORCH_HOST_DEVICE inline BoxMuller<real_t> box_muller(const bits_t& u, const bits_t& v) {
  constexpr uint64_t root_half = 0x3fe6a09e667f3bcd, exponent = 0xfff0000000000000;
  constexpr double log_2 = 0.6931471805599453, turn = 6.283185307179586 / 4294967296.0;

  // u + 1/2 = m 2^(e - 1) with m between sqrt(1/2) and sqrt(2), and log m = 2 artanh((m - 1) / (m + 1)), whose series
  // reaches 1e-17 in eleven terms.
  const bits_t odd = same_bits<bits_t, real_t>(real_of<real_t, bits_t>(2 * u + 1)), above = odd - root_half;
  const real_t m = same_bits<real_t, bits_t>(odd - (above & exponent)), s = (m - 1.0) / (m + 1.0), s2 = s * s;
  real_t artanh = s2 * (1.0 / 21);
  for (int n = 19; n > 1; n -= 2) artanh = s2 * (artanh + 1.0 / n);
  artanh = s + s * artanh;
  const real_t log = (real_of<real_t, bits_t>(above >> 52) - 33.0) * log_2 + 2.0 * artanh;

  // v = quarter 2^30 + rest, and the series of the sine and cosine of rest, at most pi / 4 from zero.
  const bits_t quarter = (v + (uint64_t{1} << 29)) >> 30;
  const real_t rest = (real_of<real_t, bits_t>(v) - real_of<real_t, bits_t>(quarter) * 0x1p30) * turn;
  const real_t z = rest * rest;
  real_t sine = 1.0 - z * (1.0 / (14 * 15)), cosine = 1.0 - z * (1.0 / (15 * 16));
  for (int n = 12; n > 0; n -= 2) sine = 1.0 - z * sine * (1.0 / (n * (n + 1)));
  for (int n = 14; n > 0; n -= 2) cosine = 1.0 - z * cosine * (1.0 / (n * (n - 1)));
  sine = rest * sine;

  const real_t across = (quarter & 1) != 0 ? sine : cosine, along = (quarter & 1) != 0 ? cosine : sine;
  const bits_t minus_across = ((quarter + 1) & 2) << 62, minus_along = (quarter & 2) << 62;
  return {-2.0 * log, same_bits<real_t, bits_t>(same_bits<bits_t, real_t>(across) ^ minus_across),
          same_bits<real_t, bits_t>(same_bits<bits_t, real_t>(along) ^ minus_along)};
}

// Number j of a factor.
INFOTORCH_HOST_DEVICE inline float normal(const Source& source, Draw factor, uint64_t j) {
  const TwoWords drawn = half_of(words(source, factor, j / 4), j % 4 > 1);
  const BoxMuller<double> pair = box_muller<double, uint64_t>(drawn.first, drawn.second);
  return static_cast<float>(sqrt(pair.square) * (j % 2 == 0 ? pair.cosine : pair.sine));
}

}  // namespace infotorch
