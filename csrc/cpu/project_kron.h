// The kron form of project: inputs and output-gradients times a factor each, and for every sample the product of both.
// No gradient is formed.
#pragma once

#include <cmath>
#include <memory>

#include "../parallel.h"
#include "../project.h"
#include "blas.h"
#include "factors.h"
#include "product.h"
#include "reduce.h"

namespace infotorch::cpu {

template <typename scalar_t>
class KronSketch {
 public:
  KronSketch(const Sketch& sketch, const PairShape& s, int64_t in_features, scalar_t* out)
      : s(s),
        k(sketch.k),
        columns(factor_columns(k, s.O, in_features)),
        in{sketch.source, Draw::in_factor, columns.I},
        of_out{sketch.source, Draw::out_factor, columns.O},
        out(out) {}

  // A is Rows<scalar_t> or Ids.
  template <typename A>
  void operator()(const A& a, const Rows<scalar_t>& b) const {
    // As many samples at once as their positions fit, or some positions of one.
    const int64_t fit = std::max<int64_t>(1, kHeld / (in.stride() + of_out.stride()));
    const int64_t samples = std::clamp<int64_t>(fit / s.T, 1, s.N), depth = std::min(s.T, fit);
    const Scratch<scalar_t> left(samples * depth * of_out.stride()), right(samples * depth * in.stride());
    Drawn a_drawn(in, s.I), b_drawn(of_out, s.O);
    for (int64_t n0 = 0; n0 < s.N; n0 += samples) {
      const int64_t count = std::min(samples, s.N - n0);
      for (int64_t t0 = 0; t0 < s.T; t0 += depth) {
        const int64_t here = std::min(depth, s.T - t0);
        multiply(a, n0, count, t0, count * here, a_drawn, right.data);
        multiply(b, n0, count, t0, count * here, b_drawn, left.data);
        join(n0, count, here, left.data, right.data, t0 > 0, t0 + here == s.T);
      }
    }
  }

 private:
  static constexpr int64_t kHeld = int64_t{1} << 21;    // numbers of both products held at once
  static constexpr int64_t kFactor = int64_t{1} << 21;  // numbers of a factor held at once
  static constexpr int64_t kBlock = 112;                // positions of one task: eight register tiles
  static constexpr int64_t kBlasBlock = 64;             // ... by BLAS
  static constexpr int64_t kBlasFeatures = 4096;        // of a block that is packed
  static constexpr int64_t kWorkPerTask = 1 << 16;      // multiply-adds that outweigh waking a thread
  static constexpr int64_t kSum = 128;      // terms between two visits to a result: a strip stays in a 32 KiB cache
  static constexpr int64_t kDrawCost = 64;  // of one number, in multiply-adds

  // Some rows of a factor; all of them if they fit, which are then kept for the next call.
  struct Drawn {
    Drawn(const Factor& factor, int64_t features)
        : factor(factor), features(features), most(std::max<int64_t>(1, kFactor / factor.stride() / kSum) * kSum) {}

    // Rows first ... first + most.
    const scalar_t* from(int64_t first) {
      if (at == first) return held->data;
      at = first;
      held.reset();
      const int64_t count = std::min(most, features - first);
      const auto draw = [&] {
        const auto drawn = std::make_shared<const Scratch<scalar_t>>(count * factor.stride());
        parallel_for(count, ceil_div(kWorkPerTask, kDrawCost * factor.columns), [&](int64_t begin, int64_t end) {
          factor.rows(first + begin, first + end, drawn->data + begin * factor.stride());
        });
        return drawn;
      };
      held = features <= most ? KeptFactors<scalar_t>::get(factor, features, draw) : draw();
      return held->data;
    }

    const Factor& factor;
    const int64_t features, most;
    std::shared_ptr<const Scratch<scalar_t>> held;
    int64_t at = -1;
  };

  // to = positions t0 ... of samples n0 ... of x, times the factor.
  void multiply(const Rows<scalar_t>& x, int64_t n0, int64_t count, int64_t t0, int64_t positions, Drawn& drawn,
                scalar_t* to) const {
    const Factor& factor = drawn.factor;
    const Rows<scalar_t> rows = stacked(x, n0, count);
    const int64_t features = drawn.features, stride = factor.stride();
    if (x.storage == Storage::same && has_fast_blas(Storage::same) && x.i.total() > 0)
      return multiply_by_blas(rows, t0, positions, drawn, to);
    for (int64_t first = 0; first < features; first += drawn.most) {
      const scalar_t* const held = drawn.from(first);
      const int64_t last = std::min(features, first + drawn.most), step = even_step(last - first);
      parallel_for(ceil_div(positions, kBlock), grain(kBlock * (last - first) * factor.columns),
                   [&](int64_t begin, int64_t end) {
                     const Scratch<scalar_t> packed(kSum * panel_stride(kBlock));
                     for (int64_t p = begin * kBlock; p < std::min(positions, end * kBlock); p += kBlock) {
                       const int64_t here = std::min(kBlock, positions - p);
                       for (int64_t i = first; i < last; i += step) {
                         const int64_t depth = std::min(step, last - i);
                         pack_positions(rows, 0, t0 + p, here, i, depth, packed.data, panel_stride(kBlock));
                         product<scalar_t>({held + (i - first) * stride, stride}, padded(factor.columns),
                                           {packed.data, panel_stride(kBlock)}, here, depth, i > 0, to + p * stride,
                                           stride);
                       }
                     }
                   });
    }
  }

  // The same by BLAS, whose order of sums may follow from sizes: it always has whole blocks of positions, so that a
  // sample's sketch is the same in every batch. The bias has the factor's last row.
  void multiply_by_blas(const Rows<scalar_t>& rows, int64_t t0, int64_t positions, Drawn& drawn, scalar_t* to) const {
    const int64_t stride = drawn.factor.stride(), width = padded(drawn.factor.columns), real = rows.i.total();
    for (int64_t first = 0; first < drawn.features; first += drawn.most) {
      const scalar_t* const held = drawn.from(first);
      const int64_t last = std::min(drawn.features, first + drawn.most), end = std::min(last, real);
      const int64_t most = std::clamp<int64_t>(end - first, 1, kBlasFeatures), packed_stride = panel_stride(most);
      parallel_for(
          ceil_div(positions, kBlasBlock), grain(kBlasBlock * (last - first) * width), [&](int64_t p0, int64_t p1) {
            const Scratch<scalar_t> packed(kBlasBlock * packed_stride), products(kBlasBlock * stride);
            for (int64_t p = p0 * kBlasBlock; p < std::min(positions, p1 * kBlasBlock); p += kBlasBlock) {
              const int64_t here = std::min(kBlasBlock, positions - p);
              const bool whole = here == kBlasBlock;
              scalar_t* const result = whole ? to + p * stride : products.data;
              if (!whole && first > 0) std::copy_n(to + p * stride, here * stride, result);
              for (int64_t i = first; i < end; i += most) {
                const int64_t depth = std::min(most, end - i);
                Stored taking = whole ? stored(rows, 0, t0 + p, i, depth) : Stored();
                if (!taking.data) {
                  pack_features(rows, 0, t0 + p, here, i, depth, packed.data, packed_stride);
                  std::fill(packed.data + here * packed_stride, packed.data + kBlasBlock * packed_stride, scalar_t(0));
                  taking = {packed.data, packed_stride};
                }
                taking.turned = true;
                blas_product({held + (i - first) * stride, stride}, width, taking, kBlasBlock, depth, i > 0, result,
                             stride);
              }
              for (int64_t r = 0; r < here && last > real; ++r)
                add_scaled(held + (real - first) * stride, 1, width, result + r * stride);
              if (!whole) std::copy_n(result, here * stride, to + p * stride);
            }
          });
    }
  }

  // The same of one-hot rows: those rows of the factor that they point at, and the bias's.
  void multiply(const Ids& ids, int64_t n0, int64_t, int64_t t0, int64_t positions, Drawn& drawn, scalar_t* to) const {
    const Factor& factor = drawn.factor;
    const int64_t stride = factor.stride(), bias = drawn.features - 1;
    parallel_for(positions, grain(kDrawCost * factor.columns), [&](int64_t begin, int64_t end) {
      const Scratch<scalar_t> last(stride);
      if (ids.bias) factor.rows(bias, bias + 1, last.data);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t n = n0 + p / s.T, t = t0 + p % s.T;
        const int64_t id = ids.data[n * ids.n_stride + t * ids.t_stride];
        factor.rows(id, id + 1, to + p * stride);
        if (ids.bias) add_scaled(last.data, 1, factor.columns, to + p * stride);
      }
    });
  }

  // out[n] = or += left[n]^T right[n] over `depth` positions, and at the end its scale.
  void join(int64_t n0, int64_t count, int64_t depth, const scalar_t* left, const scalar_t* right, bool add,
            bool end) const {
    const int64_t x_stride = in.stride(), y_stride = of_out.stride(), step = even_step(depth);
    parallel_for(count, grain(depth * k), [&](int64_t begin, int64_t until) {
      for (int64_t n = begin; n < until; ++n) {
        scalar_t* const to = out + (n0 + n) * k;
        for (int64_t t = 0; t < depth; t += step)
          product<scalar_t>({right + (n * depth + t) * x_stride, x_stride}, columns.I,
                            {left + (n * depth + t) * y_stride, y_stride}, columns.O, std::min(step, depth - t),
                            add || t > 0, to, columns.I);
        if (end) cpu::multiply(to, static_cast<scalar_t>(1 / std::sqrt(static_cast<double>(k))), k, to);
      }
    });
  }

  // At most kSum terms, and about as many as the other steps.
  static int64_t even_step(int64_t terms) { return ceil_div(terms, ceil_div(terms, kSum)); }

  static int64_t grain(int64_t cost) { return kWorkPerTask / (cost + 1) + 1; }

  const PairShape& s;
  const int64_t k;
  const FactorColumns columns;
  const Factor in, of_out;
  scalar_t* const out;
};

}  // namespace infotorch::cpu
