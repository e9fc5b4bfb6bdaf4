#include "../vjp.h"

#include "../parallel.h"
#include "form.h"
#include "one_hot_sums.h"
#include "outer_sum.h"
#include "partial.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kCols = 256;                    // of a piece of the result at most
constexpr int64_t kFormLeast = 14 * 64;           // of a piece of G where the result is small and all threads want some
constexpr int64_t kFormBytes = int64_t{1} << 18;  // of a piece of several samples, formed for one product
constexpr int64_t kBlasGroup = 4;                 // times as much where BLAS forms them, in larger tiles
constexpr int64_t kSumSize = int64_t{1} << 20;    // numbers in a piece of the result, for all weightings
constexpr int64_t kVisits = 64;                   // of a piece of the result before it is added to the others
constexpr int64_t kMostWeights = 1 << 10;         // that share what is formed
constexpr int64_t kPartialSize = int64_t{1} << 21;  // numbers in all partial results
constexpr int64_t kShareMost = int64_t{1} << 18;    // numbers of a result that groups of samples have for themselves
constexpr int64_t kSharePays = 256;  // positions for each weighting whose products outweigh a partial result

// out = sum_n w[n] G[n]: one product over all positions of all samples, those of b scaled.
template <typename scalar_t>
void scale(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w, scalar_t* out) {
  const auto weigh = [&](int64_t k0, int64_t depth, int64_t width, scalar_t* to) {
    for (int64_t k = k0, end; k < k0 + depth; k = end) {
      const int64_t n = k / s.T;
      end = std::min(k0 + depth, (n + 1) * s.T);
      scalar_t* const from = to + (k - k0) * width;
      multiply(from, w[n], (end - k) * width, from);
    }
  };
  outer_sum(s.N * s.T, stacked(b, 0, s.N), s.O, weigh, stacked(a, 0, s.N), s.I, Unchanged(), false, false, out);
}

// out[k] = sum_n w[k, n] G[n] for all k at once. Of a small result, groups of samples go to partial ones; a larger one
// is cut.
template <typename scalar_t>
void materialize(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, bool by_blas, const scalar_t* w,
                 int64_t K, scalar_t* out) {
  const Layout layout = cheaper_layout(s, by_blas);
  const bool by_out = layout == Layout::out_by_in;
  const Former<scalar_t> form(s, a, b, layout, by_blas);
  const int64_t whole = s.O * s.I, fitting = std::min<int64_t>(kSharedArea, kSumSize / K);
  const int64_t area_by_blas = blas_area<scalar_t>(kBlasGroup + K);  // of a tile
  const Tiling large = form.tiling(fitting, kCols, area_by_blas);
  const int64_t wanted = ceil_div(kTasks, large.count()),
                fit_all = K * whole <= kShareMost ? kPartialSize / (K * whole) : 1;
  const int64_t pay = s.N * s.T / (kSharePays * K);
  const int64_t splits = std::clamp<int64_t>(std::min({wanted, fit_all, pay}), 1, s.N);
  const int64_t least = std::clamp(whole / kTasks, kFormLeast, fitting);
  const Tiling tiling =
      splits == 1 ? form.tiling(least, kCols, std::min(area_by_blas, std::max(whole / kTasks, kBlasLeast))) : large;
  const int64_t size = padded(tiling.edge_rows * tiling.edge_cols);
  const int64_t fit = (by_blas ? kBlasGroup : 1) * kFormBytes / (size * static_cast<int64_t>(sizeof(scalar_t)));
  const int64_t group = std::clamp<int64_t>(std::min(fit, kDepth), 1, ceil_div(s.N, splits));
  const bool again = ceil_div(s.N, splits) > group * kVisits;
  const Scratch<scalar_t> partial(splits > 1 ? splits * K * whole : 0);
  struct Worker {
    FormScratch<scalar_t> panels;
    Scratch<scalar_t> formed, weights, some, sum;
  };
  parallel_tasks(
      tiling.count() * splits, 1,
      [&] {
        return Worker{FormScratch<scalar_t>(tiling), Scratch<scalar_t>(group * size), Scratch<scalar_t>(group * K),
                      Scratch<scalar_t>(again ? K * size : 0), Scratch<scalar_t>(K * size)};
      },
      [&](int64_t p, Worker& worker) {
        const Tile tile = tiling[p % tiling.count()];
        const int64_t split = p / tiling.count(), first = split * s.N / splits, last = (split + 1) * s.N / splits;
        for (int64_t n0 = first; n0 < last;) {
          scalar_t* const some = n0 == first ? worker.sum.data : worker.some.data;
          for (int64_t visit = 0; visit < kVisits && n0 < last; ++visit) {
            const int64_t count = std::min(group, last - n0);
            copy_block(w + n0, 1, s.N, count, K, worker.weights.data, K);
            for (int64_t n = 0; n < count; ++n)
              form(n0 + n, tile, worker.panels, worker.formed.data + n * size, tile.cols);
            product<scalar_t>({worker.formed.data, size}, tile.size(), {worker.weights.data, K}, K, count, visit > 0,
                              some, size);
            n0 += count;
          }
          for (int64_t k = 0; k < K && some != worker.sum.data; ++k)
            add_scaled(some + k * size, 1, tile.size(), worker.sum.data + k * size);
        }
        scalar_t* const all = splits > 1 ? partial.data + split * K * whole : out;
        for (int64_t k = 0; k < K; ++k) {
          const scalar_t* from = worker.sum.data + k * size;
          scalar_t* const to = all + k * whole;
          if (by_out)
            copy_block(from, tile.cols, 1, tile.rows, tile.cols, to + tile.r0 * s.I + tile.c0, s.I);
          else
            copy_block(from, 1, tile.cols, tile.cols, tile.rows, to + tile.c0 * s.I + tile.r0, s.I);
        }
      });
  if (splits > 1) sum_partial(partial.data, splits, K * whole, out);
}

}  // namespace

template <typename scalar_t>
void vjp(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K,
         scalar_t* out) {
  const int64_t area = s.O * s.I;
  if (area == 0 || K == 0) return;
  const bool by_blas = is_formed_by_blas(s, a, b);
  if (s.N == 0)
    std::fill(out, out + K * area, scalar_t(0));
  else if (choose_vjp_method(s, K, by_blas, a.storage != Storage::same) == VjpMethod::materialize)
    for (int64_t k = 0; k < K; k += kMostWeights)
      materialize(s, a, b, by_blas, w + k * s.N, std::min(kMostWeights, K - k), out + k * area);
  else
    for (int64_t k = 0; k < K; ++k) scale(s, a, b, w + k * s.N, out + k * area);
}

template <typename scalar_t>
void vjp(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K, scalar_t* out) {
  if (s.O == 0 || s.I == 0 || K == 0) return;
  const auto add = [&](const Pointing& from, const RowSum<scalar_t>& sum, int64_t o0, int64_t width, double* total) {
    for (const int64_t* p = from.begin; p < from.end; ++p) {
      const scalar_t* const row = sum.row(*p, o0, width);
      const int64_t n = from.n0 + *p / s.T;
      for (int64_t k = 0; k < K; ++k) add_scaled(row, w[k * s.N + n], width, total + k * width);
    }
  };
  sum_columns(s, a, b, K, add, out);
}

template void vjp(const PairShape&, const Rows<float>&, const Rows<float>&, const float*, int64_t, float*);
template void vjp(const PairShape&, const Rows<double>&, const Rows<double>&, const double*, int64_t, double*);
template void vjp(const PairShape&, const Ids&, const Rows<float>&, const float*, int64_t, float*);
template void vjp(const PairShape&, const Ids&, const Rows<double>&, const double*, int64_t, double*);

}  // namespace infotorch::cpu
