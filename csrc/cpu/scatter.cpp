#include "scatter.h"

#include <type_traits>

#include "transpose.h"

namespace infotorch::cpu {
namespace {

// A vector of `bytes`, or a plain number.
template <typename number_t, int64_t bytes>
using Number = typename std::conditional_t<bytes == sizeof(number_t), std::enable_if<true, number_t>,
                                           Lanes<number_t, bytes == sizeof(number_t) ? 16 : bytes>>::type;

template <typename scalar_t>
using Word = std::conditional_t<sizeof(scalar_t) == sizeof(uint32_t), uint32_t, uint64_t>;

template <typename scalar_t, int64_t bytes>
INFOTORCH_INLINE void add(Number<scalar_t, bytes> x, Entry entry, scalar_t* to) {
  using number_t = Number<scalar_t, bytes>;
  using bits_t = Number<Word<scalar_t>, bytes>;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  const Word<scalar_t> sign = static_cast<Word<scalar_t>>(entry & kMinus) << (8 * sizeof(scalar_t) - 32);
  to += static_cast<int64_t>(entry & ~kMinus) * lanes;
  store(to, load<number_t>(to) + same_bits<number_t, bits_t>(same_bits<bits_t, number_t>(x) ^ sign));
}

template <int64_t bytes, typename scalar_t>
INFOTORCH_INLINE void numbers(const scalar_t* x, int64_t stride, const Entry* entries, int64_t count, scalar_t* to) {
  using vector_t = typename Lanes<scalar_t, bytes>::type;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  for (int64_t q = 0; q < count; q += lanes) {
    vector_t line[lanes];
#pragma GCC unroll 16
    for (int64_t k = 0; k < lanes; ++k) line[k] = load<vector_t>(x + k * stride + q);
    transpose_lines<scalar_t, bytes>(line);
    if (q + lanes <= count) {
#pragma GCC unroll 16
      for (int64_t k = 0; k < lanes; ++k) add<scalar_t, bytes>(line[k], entries[q + k], to);
      continue;
    }
    scalar_t rest[lanes * lanes];
#pragma GCC unroll 16
    for (int64_t k = 0; k < lanes; ++k) store(rest + k * lanes, line[k]);
    for (int64_t k = 0; q + k < count; ++k) add<scalar_t, bytes>(load<vector_t>(rest + k * lanes), entries[q + k], to);
  }
}

// All of y stays in registers: a load near an unfinished store to the same place in another page would wait for it.
template <int64_t bytes, typename scalar_t>
INFOTORCH_INLINE void products(const scalar_t* x, int64_t rows, const scalar_t* y, int64_t cols, const Entry* entries,
                               scalar_t* to) {
  using number_t = Number<scalar_t, bytes>;
  constexpr int64_t lanes = bytes / sizeof(scalar_t);
  if (cols < kMostProducts) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        add<scalar_t, bytes>(load<number_t>(x + r * lanes) * load<number_t>(y + c * lanes), entries[r * cols + c], to);
    return;
  }
  number_t right[kMostProducts];
#pragma GCC unroll 8
  for (int64_t c = 0; c < kMostProducts; ++c) right[c] = load<number_t>(y + c * lanes);
  for (int64_t r = 0; r < rows; ++r, entries += kMostProducts) {
    const auto left = load<number_t>(x + r * lanes);
#pragma GCC unroll 8
    for (int64_t c = 0; c < kMostProducts; ++c) add<scalar_t, bytes>(left * right[c], entries[c], to);
  }
}

}  // namespace

// Overloads, because a template can't be cloned.
#define INFOTORCH_SCATTER(scalar_t)                                                                                   \
  INFOTORCH_CLONES void add_numbers(int64_t lanes, const scalar_t* x, int64_t stride, const Entry* entries,           \
                                    int64_t count, scalar_t* to) {                                                    \
    if (lanes * sizeof(scalar_t) == 64) return numbers<64>(x, stride, entries, count, to);                            \
    if (lanes * sizeof(scalar_t) == 32) return numbers<32>(x, stride, entries, count, to);                            \
    if (lanes > 1) return numbers<16>(x, stride, entries, count, to);                                                 \
    for (int64_t q = 0; q < count; ++q) add<scalar_t, sizeof(scalar_t)>(x[q], entries[q], to);                        \
  }                                                                                                                   \
  INFOTORCH_CLONES void add_products(int64_t lanes, const scalar_t* x, int64_t rows, const scalar_t* y, int64_t cols, \
                                     const Entry* entries, scalar_t* to) {                                            \
    if (lanes * sizeof(scalar_t) == 64) return products<64>(x, rows, y, cols, entries, to);                           \
    if (lanes * sizeof(scalar_t) == 32) return products<32>(x, rows, y, cols, entries, to);                           \
    if (lanes > 1) return products<16>(x, rows, y, cols, entries, to);                                                \
    products<sizeof(scalar_t)>(x, rows, y, cols, entries, to);                                                        \
  }
INFOTORCH_SCATTER(float)
INFOTORCH_SCATTER(double)

}  // namespace infotorch::cpu
