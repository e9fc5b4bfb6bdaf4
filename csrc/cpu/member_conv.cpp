// Every product runs over vectors of samples or of output channels: nothing is unfolded, padded or packed, and what a
// kernel's entry meets is a list of places. A tile of sums stays in registers while all that goes into it streams by.

#include "member_conv.h"

#include <algorithm>
#include <vector>

#include "../parallel.h"
#include "simd.h"

namespace infotorch::cpu {
namespace {

// What one position of the result is made of: a pixel of the source, times an entry of the kernel.
struct Tap {
  int64_t pixel, entry;
};

// Steps from one weight to that of the next row of the source, q, and of the result, r.
struct Weights {
  int64_t q, r;
};

static_assert(member_conv_lanes<float>() == kLanes<float> && member_conv_lanes<double>() == kLanes<double>);

constexpr int64_t kRows = 8, kColumns = 12;

// out[r * out_stride + b] = sum over taps and q of w[tap][q][r] * source[q * source_stride + pixel + b], for kRows
// rows r and `vectors` vectors of samples b.
template <int64_t vectors, int64_t rows, typename scalar_t>
INFOTORCH_INLINE void tile(const std::vector<Tap>& taps, int64_t Q, const scalar_t* source, int64_t source_stride,
                           const scalar_t* w, Weights by, scalar_t* out, int64_t out_stride, const int64_t* at) {
  using vector_t = Vector<scalar_t>;
  vector_t sum[rows][vectors] = {};
  for (const Tap& tap : taps) {
    const scalar_t* s = source + tap.pixel;
    const scalar_t* v = w + tap.entry;
    for (int64_t q = 0; q < Q; ++q, s += source_stride, v += by.q) {
      vector_t x[vectors];
#pragma GCC unroll 4
      for (int64_t k = 0; k < vectors; ++k) x[k] = load<vector_t>(s + at[k]);
#pragma GCC unroll 8
      for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int64_t k = 0; k < vectors; ++k) sum[r][k] += v[r * by.r] * x[k];
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int64_t k = 0; k < vectors; ++k) store(out + r * out_stride + at[k], sum[r][k]);
}

template <int64_t vectors, typename scalar_t>
INFOTORCH_INLINE void rows_of(const std::vector<Tap>& taps, int64_t Q, const scalar_t* source, int64_t source_stride,
                              const scalar_t* w, Weights by, int64_t R, scalar_t* out, int64_t out_stride,
                              const int64_t* at) {
  int64_t r = 0;
  for (; r + kRows <= R; r += kRows)
    tile<vectors, kRows>(taps, Q, source, source_stride, w + r * by.r, by, out + r * out_stride, out_stride, at);
  for (; r < R; ++r)
    tile<vectors, 1>(taps, Q, source, source_stride, w + r * by.r, by, out + r * out_stride, out_stride, at);
}

// All R rows of one position. The last vector of samples overlaps the one before: what both write is equal.
template <typename scalar_t>
INFOTORCH_CLONES void position(const std::vector<Tap>& taps, int64_t Q, const scalar_t* source, int64_t source_stride,
                               const scalar_t* w, Weights by, int64_t R, scalar_t* out, int64_t out_stride, int64_t B) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t count = (B + lanes - 1) / lanes;
  for (int64_t first = 0; first < count; first += 3) {
    int64_t at[3];
    const int64_t here = std::min<int64_t>(3, count - first);
    for (int64_t k = 0; k < here; ++k) at[k] = std::min((first + k) * lanes, B - lanes);
    if (here == 3)
      rows_of<3>(taps, Q, source, source_stride, w, by, R, out, out_stride, at);
    else if (here == 2)
      rows_of<2>(taps, Q, source, source_stride, w, by, R, out, out_stride, at);
    else
      rows_of<1>(taps, Q, source, source_stride, w, by, R, out, out_stride, at);
  }
}

// dw[o][c] over all positions that one entry of the kernel meets, for `columns` channels c and `vectors` vectors of o,
// of which the first O are real.
template <int64_t columns, int64_t vectors, typename scalar_t>
INFOTORCH_INLINE void entry_tile(const MemberConv& s, int64_t Op, const scalar_t* x, const scalar_t* dy, int64_t oh0,
                                 int64_t oh1, int64_t ow0, int64_t ow1, int64_t top, int64_t left, int64_t O,
                                 scalar_t* dw) {
  using vector_t = Vector<scalar_t>;
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t plane = s.H * s.W * s.B;
  vector_t sum[columns][vectors] = {};
  for (int64_t oh = oh0; oh < oh1; ++oh)
    for (int64_t ow = ow0; ow < ow1; ++ow) {
      const scalar_t* a = x + ((oh * s.sh + top) * s.W + ow * s.sw + left) * s.B;
      const scalar_t* g = dy + (oh * s.Wo + ow) * s.B * Op;
      for (int64_t b = 0; b < s.B; ++b, g += Op) {
        vector_t v[vectors];
#pragma GCC unroll 2
        for (int64_t k = 0; k < vectors; ++k) v[k] = load<vector_t>(g + k * lanes);
#pragma GCC unroll 12
        for (int64_t c = 0; c < columns; ++c)
#pragma GCC unroll 2
          for (int64_t k = 0; k < vectors; ++k) sum[c][k] += a[c * plane + b] * v[k];
      }
    }
#pragma GCC unroll 12
  for (int64_t c = 0; c < columns; ++c)
#pragma GCC unroll 2
    for (int64_t k = 0; k < vectors; ++k) {
      scalar_t all[lanes];
      store(all, sum[c][k]);
      for (int64_t o = 0; o < std::min(lanes, O - k * lanes); ++o)
        dw[((o + k * lanes) * s.C + c) * s.kh * s.kw] = all[o];
    }
}

template <int64_t columns, typename scalar_t>
INFOTORCH_INLINE void entry_columns(const MemberConv& s, int64_t Op, const scalar_t* x, const scalar_t* dy, int64_t oh0,
                                    int64_t oh1, int64_t ow0, int64_t ow1, int64_t top, int64_t left, int64_t O,
                                    scalar_t* dw) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  int64_t o = 0;
  for (; o + 2 * lanes <= Op; o += 2 * lanes)
    entry_tile<columns, 2>(s, Op, x, dy + o, oh0, oh1, ow0, ow1, top, left, O - o, dw + o * s.C * s.kh * s.kw);
  if (o < Op)
    entry_tile<columns, 1>(s, Op, x, dy + o, oh0, oh1, ow0, ow1, top, left, O - o, dw + o * s.C * s.kh * s.kw);
}

// [begin, end) of the outputs o with 0 <= o * stride + shift < size.
void reach(int64_t shift, int64_t stride, int64_t size, int64_t out, int64_t* begin, int64_t* end) {
  *begin = shift >= 0 ? 0 : std::min(out, (-shift + stride - 1) / stride);
  *end = std::max(*begin, shift >= size ? 0 : std::min(out, (size - 1 - shift) / stride + 1));
}

// All C rows of one entry (i, j) of the kernel.
template <typename scalar_t>
INFOTORCH_CLONES void entry(const MemberConv& s, int64_t Op, const scalar_t* x, const scalar_t* dy, int64_t i,
                            int64_t j, int64_t begin, int64_t end, scalar_t* dw) {
  const int64_t plane = s.H * s.W * s.B, top = i * s.dh - s.ph, left = j * s.dw - s.pw;
  int64_t oh0, oh1, ow0, ow1;
  reach(top, s.sh, s.H, s.Ho, &oh0, &oh1);
  reach(left, s.sw, s.W, s.Wo, &ow0, &ow1);
  int64_t c = begin;
  for (; c + kColumns <= end; c += kColumns)
    entry_columns<kColumns>(s, Op, x + c * plane, dy, oh0, oh1, ow0, ow1, top, left, s.O, dw + c * s.kh * s.kw);
  for (; c + 4 <= end; c += 4)
    entry_columns<4>(s, Op, x + c * plane, dy, oh0, oh1, ow0, ow1, top, left, s.O, dw + c * s.kh * s.kw);
  for (; c < end; ++c)
    entry_columns<1>(s, Op, x + c * plane, dy, oh0, oh1, ow0, ow1, top, left, s.O, dw + c * s.kh * s.kw);
}

}  // namespace

template <typename scalar_t>
void member_conv(const MemberConv& s, const scalar_t* x, const scalar_t* w, scalar_t* y) {
  const int64_t entries = s.kh * s.kw;
  parallel_for(s.E * s.Ho * s.Wo, 1, [&](int64_t begin, int64_t end) {
    std::vector<Tap> taps;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / (s.Ho * s.Wo), oh = p / s.Wo % s.Ho, ow = p % s.Wo;
      taps.clear();
      for (int64_t i = 0; i < s.kh; ++i)
        for (int64_t j = 0; j < s.kw; ++j) {
          const int64_t h = oh * s.sh + i * s.dh - s.ph, v = ow * s.sw + j * s.dw - s.pw;
          if (h >= 0 && h < s.H && v >= 0 && v < s.W) taps.push_back({(h * s.W + v) * s.B, i * s.kw + j});
        }
      position(taps, s.C, x + e * s.C * s.H * s.W * s.B, s.H * s.W * s.B, w + e * s.O * s.C * entries,
               {entries, s.C * entries}, s.O, y + (e * s.O * s.Ho * s.Wo + oh * s.Wo + ow) * s.B, s.Ho * s.Wo * s.B,
               s.B);
    }
  });
}

template <typename scalar_t>
void member_conv_dx(const MemberConv& s, const scalar_t* dy, const scalar_t* w, scalar_t* dx) {
  const int64_t entries = s.kh * s.kw;
  parallel_for(s.E * s.H * s.W, 1, [&](int64_t begin, int64_t end) {
    std::vector<Tap> taps;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / (s.H * s.W), h = p / s.W % s.H, v = p % s.W;
      taps.clear();
      for (int64_t i = 0; i < s.kh; ++i)
        for (int64_t j = 0; j < s.kw; ++j) {
          const int64_t down = h + s.ph - i * s.dh, right = v + s.pw - j * s.dw;
          if (down < 0 || right < 0 || down % s.sh || right % s.sw) continue;
          if (down / s.sh < s.Ho && right / s.sw < s.Wo)
            taps.push_back({(down / s.sh * s.Wo + right / s.sw) * s.B, i * s.kw + j});
        }
      position(taps, s.O, dy + e * s.O * s.Ho * s.Wo * s.B, s.Ho * s.Wo * s.B, w + e * s.O * s.C * entries,
               {s.C * entries, entries}, s.C, dx + (e * s.C * s.H * s.W + h * s.W + v) * s.B, s.H * s.W * s.B, s.B);
    }
  });
}

template <typename scalar_t>
void member_conv_dw(const MemberConv& s, const scalar_t* x, const scalar_t* dy, scalar_t* dw) {
  constexpr int64_t lanes = kLanes<scalar_t>;
  const int64_t Op = (s.O + lanes - 1) / lanes * lanes;
  const int64_t entries = s.kh * s.kw, cuts = (s.C + kColumns - 1) / kColumns;
  parallel_for(s.E * entries * cuts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / (entries * cuts), t = p / cuts % entries, first = p % cuts * kColumns;
      entry(s, Op, x + e * s.C * s.H * s.W * s.B, dy + e * s.Ho * s.Wo * s.B * Op, t / s.kw, t % s.kw, first,
            std::min(first + kColumns, s.C), dw + e * s.O * s.C * entries + t);
    }
  });
}

template void member_conv(const MemberConv&, const float*, const float*, float*);
template void member_conv(const MemberConv&, const double*, const double*, double*);
template void member_conv_dx(const MemberConv&, const float*, const float*, float*);
template void member_conv_dx(const MemberConv&, const double*, const double*, double*);
template void member_conv_dw(const MemberConv&, const float*, const float*, float*);
template void member_conv_dw(const MemberConv&, const double*, const double*, double*);

}  // namespace infotorch::cpu
