// All are sums of matrix products, for which the places that a position meets are laid side by side: as rows of samples
// for y and dx, as rows of channels for dw. Each row of the source is laid out once and read along, because what waits
// for memory would cost more than the products.

#include "member_conv.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "../parallel.h"
#include "product.h"
#include "simd.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kTerms = 128;  // of a sum between two visits to the result: strips of both factors stay in the cache
constexpr int64_t kBlock = 32;   // channels of a block of dw: two vectors, or a little more than two tiles

// One axis of a convolution.
struct Axis {
  int64_t size, out, kernel, stride, padding, dilation;
};

Axis height(const MemberConv& s) { return {s.H, s.Ho, s.kh, s.sh, s.ph, s.dh}; }
Axis width(const MemberConv& s) { return {s.W, s.Wo, s.kw, s.sw, s.pw, s.dw}; }

// The entries of a kernel in an order in which those that meet one pixel are neighbours, by increasing outputs.
std::vector<int64_t> pixel_order(const Axis& axis) {
  std::vector<int64_t> order(axis.kernel);
  std::iota(order.rbegin(), order.rend(), 0);
  std::stable_sort(order.begin(), order.end(), [&axis](int64_t i, int64_t j) {
    return i * axis.dilation % axis.stride < j * axis.dilation % axis.stride;
  });
  return order;
}

std::vector<int64_t> output_order(const Axis& axis) {
  std::vector<int64_t> order(axis.kernel);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// What a row or column of the result is made of: rows or columns of the source, times entries that are neighbours.
struct Taps {
  int64_t first = 0;  // place of the first entry in the order
  std::vector<int64_t> source;
};

// The pixels that each output meets.
std::vector<Taps> output_taps(const Axis& axis) {
  std::vector<Taps> taps(axis.out);
  for (int64_t o = 0; o < axis.out; ++o)
    for (int64_t i = 0; i < axis.kernel; ++i) {
      const int64_t pixel = o * axis.stride + i * axis.dilation - axis.padding;
      if (pixel < 0 || pixel >= axis.size) continue;
      if (taps[o].source.empty()) taps[o].first = i;
      taps[o].source.push_back(pixel);
    }
  return taps;
}

// The outputs that each pixel meets.
std::vector<Taps> pixel_taps(const Axis& axis) {
  const std::vector<int64_t> order = pixel_order(axis);
  std::vector<Taps> taps(axis.size);
  for (int64_t pixel = 0; pixel < axis.size; ++pixel)
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const int64_t from = pixel + axis.padding - order[k] * axis.dilation;
      if (from < 0 || from % axis.stride || from / axis.stride >= axis.out) continue;
      if (taps[pixel].source.empty()) taps[pixel].first = k;
      taps[pixel].source.push_back(from / axis.stride);
    }
  return taps;
}

// Overloads, because a template can't be cloned. Both let NaN through.
#define INFOTORCH_RELU(scalar_t)                                                                  \
  INFOTORCH_CLONES void rectify(scalar_t* x, int64_t size) { /* whole vectors */                  \
    const Vector<scalar_t> zero = {};                                                             \
    for (int64_t k = 0; k < size; k += kLanes<scalar_t>) {                                        \
      const auto v = load<Vector<scalar_t>>(x + k);                                               \
      store(x + k, v < 0 ? zero : v);                                                             \
    }                                                                                             \
  }                                                                                               \
  INFOTORCH_CLONES void mask(const scalar_t* dy, const scalar_t* y, int64_t size, scalar_t* to) { \
    for (int64_t k = 0; k < size; ++k) to[k] = y[k] <= 0 ? 0 : dy[k];                             \
  }
INFOTORCH_RELU(float)
INFOTORCH_RELU(double)

// Sums over Q planes of a source into R planes of a result, B samples a place.
struct Planes {
  int64_t E, Q, R, B;
  int64_t source_h, source_w, out_h, out_w;
  int64_t kh, kw;

  int64_t source_plane() const { return source_h * source_w * B; }
  int64_t out_plane() const { return out_h * out_w * B; }
  int64_t weights() const { return Q * R * kh * kw; }
};

// How many rows of the source are in use at once.
int64_t span(const std::vector<Taps>& rows) {
  int64_t most = 1;
  for (const Taps& taps : rows)
    if (!taps.source.empty()) most = std::max(most, taps.source.back() - taps.source.front() + 1);
  return most;
}

// How many taps from t on meet columns side by side.
int64_t run(const Taps& taps, int64_t t) {
  int64_t length = 1;
  while (t + length < int64_t(taps.source.size()) && taps.source[t + length] == taps.source[t] + length) ++length;
  return length;
}

// out[r] = sum over q and the entries of w[row][column][q][r] * source[q], w in the order of the taps.
template <typename scalar_t>
void planes(const Planes& s, const std::vector<Taps>& rows, const std::vector<Taps>& columns, const scalar_t* source,
            const scalar_t* w, bool relu, scalar_t* out) {
  const int64_t stride = panel_stride(s.B), pixel = s.Q * stride, line = s.source_w * pixel, ring = span(rows);
  const int64_t out_line = s.out_w * stride;
  parallel_for(s.E * s.out_h, 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> laid(ring * line), sum(s.R * out_line);  // [row, column, Q, B] and [R, column, B]
    std::fill_n(laid.data, ring * line, scalar_t(0));                // what lies beyond B is computed with
    std::vector<int64_t> held(ring, -1);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / s.out_h, row = p % s.out_h;
      for (const int64_t from : rows[row].source) {
        int64_t& there = held[from % ring];
        if (there == e * s.source_h + from) continue;
        there = e * s.source_h + from;
        for (int64_t q = 0; q < s.Q; ++q)
          copy_block(source + (e * s.Q + q) * s.source_plane() + from * s.source_w * s.B, s.B, 1, s.source_w, s.B,
                     laid.data + from % ring * line + q * stride, pixel);
      }
      for (int64_t column = 0; column < s.out_w; ++column) {
        const Taps &down = rows[row], &along = columns[column];
        scalar_t* const to = sum.data + column * stride;
        bool add = false;
        for (size_t i = 0; i < down.source.size(); ++i)
          for (int64_t t = 0, length; t < int64_t(along.source.size()); t += length) {
            length = run(along, t);
            const scalar_t* x = laid.data + down.source[i] % ring * line + along.source[t] * pixel;
            const scalar_t* y = w + e * s.weights() + ((down.first + i) * s.kw + along.first + t) * s.Q * s.R;
            for (int64_t k = 0; k < length * s.Q; k += kTerms, add = true)
              product(Panel<scalar_t>{x + k * stride, stride}, padded(s.B), Panel<scalar_t>{y + k * s.R, s.R}, s.R,
                      std::min(kTerms, length * s.Q - k), add, to, out_line);
          }
        if (!add)  // padding alone
          for (int64_t r = 0; r < s.R; ++r) std::fill_n(to + r * out_line, stride, scalar_t(0));
      }
      for (int64_t r = 0; r < s.R; ++r) {
        scalar_t* const from = sum.data + r * out_line;
        if (relu) rectify(from, out_line);
        copy_block(from, stride, 1, s.out_w, s.B, out + (e * s.R + r) * s.out_plane() + row * s.out_w * s.B, s.B);
      }
    }
  });
}

// The weights [E, O, C, kh, kw] as [E, row, column, q, r], entries in the given orders.
template <typename scalar_t>
void lay_weights(const MemberConv& s, const std::vector<int64_t>& rows, const std::vector<int64_t>& columns,
                 const scalar_t* w, bool by_output, scalar_t* to) {
  const int64_t entries = s.kh * s.kw, o = s.C * entries, c = entries;
  parallel_for(s.E * entries, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / entries, i = rows[p % entries / s.kw], j = columns[p % s.kw];
      const scalar_t* from = w + e * s.O * o + i * s.kw + j;
      if (by_output)
        copy_block(from, c, o, s.C, s.O, to + p * s.O * s.C, s.O);
      else
        copy_block(from, o, c, s.O, s.C, to + p * s.O * s.C, s.C);
    }
  });
}

// [begin, end) of the outputs o with 0 <= o * stride + shift < size.
void reach(int64_t shift, int64_t stride, int64_t size, int64_t out, int64_t* begin, int64_t* end) {
  *begin = shift >= 0 ? 0 : std::min(out, (-shift + stride - 1) / stride);
  *end = std::max(*begin, shift >= size ? 0 : std::min(out, (size - 1 - shift) / stride + 1));
}

// dw of kBlock output channels and kBlock input channels at most, by way of scratch.
template <typename scalar_t>
struct Block {
  const MemberConv& s;
  const std::vector<Taps> down = pixel_taps(height(s));
  const std::vector<int64_t> order = pixel_order(height(s));
  const int64_t ring = span(down), line = s.Wo * s.B;
  const Scratch<scalar_t> g{ring * line * kBlock};             // [row, Wo, B, kBlock] of dy
  const Scratch<scalar_t> masked{line * kBlock};               // [kBlock, Wo, B] of dy
  const Scratch<scalar_t> row{s.W * s.B * kBlock};             // [W, B, channels] of x
  const Scratch<scalar_t> sum{s.kh * s.kw * kBlock * kBlock};  // [kh, kw, channels, kBlock]

  void operator()(const scalar_t* x, const scalar_t* dy, const scalar_t* y, int64_t os, int64_t cs,
                  scalar_t* dw) const {
    const int64_t entries = s.kh * s.kw;
    std::fill_n(sum.data, entries * kBlock * kBlock, scalar_t(0));
    if (os < kBlock) std::fill_n(g.data, ring * line * kBlock, scalar_t(0));
    std::vector<int64_t> held(ring, -1);
    for (int64_t h = 0; h < s.H; ++h) {
      if (down[h].source.empty()) continue;
      copy_block(x + h * s.W * s.B, 1, s.H * s.W * s.B, s.W * s.B, cs, row.data, cs);
      for (size_t t = 0; t < down[h].source.size(); ++t) {
        const int64_t oh = down[h].source[t];
        if (held[oh % ring] != oh) lay(dy, y, oh, os);
        held[oh % ring] = oh;
        for (int64_t j = 0; j < s.kw; ++j) add_entry(order[down[h].first + t] * s.kw + j, j * s.dw - s.pw, oh, cs);
      }
    }
    for (int64_t o = 0; o < os; ++o)
      for (int64_t c = 0; c < cs; ++c)
        for (int64_t t = 0; t < entries; ++t) dw[(o * s.C + c) * entries + t] = sum.data[(t * kBlock + c) * kBlock + o];
  }

 private:
  void lay(const scalar_t* dy, const scalar_t* y, int64_t oh, int64_t os) const {
    scalar_t* const to = g.data + oh % ring * line * kBlock;
    const int64_t plane = s.Ho * line;
    if (!y) return copy_block(dy + oh * line, 1, plane, line, os, to, kBlock);
    for (int64_t o = 0; o < os; ++o)
      mask(dy + o * plane + oh * line, y + o * plane + oh * line, line, masked.data + o * line);
    copy_block(masked.data, 1, line, line, os, to, kBlock);
  }

  // The positions of output row oh, of which the first column's pixel is `left`.
  void add_entry(int64_t entry, int64_t left, int64_t oh, int64_t cs) const {
    int64_t begin, end;
    reach(left, s.sw, s.W, s.Wo, &begin, &end);
    if (begin == end) return;
    const int64_t together = s.sw == 1 ? end - begin : 1;  // positions whose pixels are neighbours
    for (int64_t ow = begin; ow < end; ow += together) {
      const scalar_t* const a = row.data + (ow * s.sw + left) * s.B * cs;
      const scalar_t* const b = g.data + (oh % ring * line + ow * s.B) * kBlock;
      const int64_t depth = together * s.B;
      for (int64_t k = 0; k < depth; k += kTerms)
        product(Panel<scalar_t>{b + k * kBlock, kBlock}, kBlock, Panel<scalar_t>{a + k * cs, cs}, cs,
                std::min(kTerms, depth - k), true, sum.data + entry * kBlock * kBlock, kBlock);
    }
  }
};

}  // namespace

template <typename scalar_t>
void member_conv(const MemberConv& s, const scalar_t* x, const scalar_t* w, scalar_t* y, bool relu) {
  const Scratch<scalar_t> laid(s.E * s.O * s.C * s.kh * s.kw);
  lay_weights(s, output_order(height(s)), output_order(width(s)), w, true, laid.data);
  planes({s.E, s.C, s.O, s.B, s.H, s.W, s.Ho, s.Wo, s.kh, s.kw}, output_taps(height(s)), output_taps(width(s)), x,
         laid.data, relu, y);
}

template <typename scalar_t>
void member_conv_dx(const MemberConv& s, const scalar_t* dy, const scalar_t* w, scalar_t* dx) {
  const Scratch<scalar_t> laid(s.E * s.O * s.C * s.kh * s.kw);
  lay_weights(s, pixel_order(height(s)), pixel_order(width(s)), w, false, laid.data);
  planes({s.E, s.O, s.C, s.B, s.Ho, s.Wo, s.H, s.W, s.kh, s.kw}, pixel_taps(height(s)), pixel_taps(width(s)), dy,
         laid.data, false, dx);
}

template <typename scalar_t>
void member_conv_dw(const MemberConv& s, const scalar_t* x, const scalar_t* dy, scalar_t* dw, const scalar_t* y) {
  const int64_t os = ceil_div(s.O, kBlock), cs = ceil_div(s.C, kBlock);
  parallel_for(s.E * os * cs, 1, [&](int64_t begin, int64_t end) {
    const Block<scalar_t> block{s};
    for (int64_t p = begin; p < end; ++p) {
      const int64_t e = p / (os * cs), o = p / cs % os * kBlock, c = p % cs * kBlock;
      const int64_t out = (e * s.O + o) * s.Ho * s.Wo * s.B;
      block(x + (e * s.C + c) * s.H * s.W * s.B, dy + out, y ? y + out : nullptr, std::min(kBlock, s.O - o),
            std::min(kBlock, s.C - c), dw + ((e * s.O + o) * s.C + c) * s.kh * s.kw);
    }
  });
}

template void member_conv(const MemberConv&, const float*, const float*, float*, bool);
template void member_conv(const MemberConv&, const double*, const double*, double*, bool);
template void member_conv_dx(const MemberConv&, const float*, const float*, float*);
template void member_conv_dx(const MemberConv&, const double*, const double*, double*);
template void member_conv_dw(const MemberConv&, const float*, const float*, float*, const float*);
template void member_conv_dw(const MemberConv&, const double*, const double*, double*, const double*);

}  // namespace infotorch::cpu
