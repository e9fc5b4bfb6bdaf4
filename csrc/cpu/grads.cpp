#include "../grads.h"

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kArea = 112 * 256, kCols = 256;  // of a tile: with its panels it stays in a 1 MiB cache
constexpr int64_t kWorkPerTask = 1 << 16;          // multiply-adds that outweigh waking a thread

}  // namespace

template <typename scalar_t>
void grads(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const Former<scalar_t> form(s, a, b, Layout::out_by_in);
  const Tiling tiling = tiles_of(s.O, s.I, kArea, kCols);
  const int64_t pieces = tiling.count(), cost = grads_cost(s) / std::max<int64_t>(1, pieces);
  parallel_for(s.N * pieces, kWorkPerTask / (cost + 1) + 1, [&](int64_t begin, int64_t end) {
    const FormScratch<scalar_t> panels(tiling);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t n = p / pieces;
      const Tile tile = tiling[p % pieces];
      form(n, tile, panels, out + (n * s.O + tile.r0) * s.I + tile.c0, s.I);
    }
  });
}

template <typename scalar_t>
void grads(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  parallel_for(s.N, kWorkPerTask / (s.O * s.I + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      scalar_t* g = out + n * s.O * s.I;
      std::fill(g, g + s.O * s.I, scalar_t(0));
      const Columns<scalar_t> columns = columns_of(s, a, b, n);
      for (int64_t o = 0; o < s.O; ++o)
        for (int64_t k = 0; k < columns.count(); ++k) g[o * s.I + columns.column[k]] = columns.sum[k * s.O + o];
    }
  });
}

template void grads(const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void grads(const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void grads(const PairShape&, const Ids&, const Rows<float>&, float*);
template void grads(const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
