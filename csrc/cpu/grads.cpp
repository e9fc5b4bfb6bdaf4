#include "../grads.h"

#include <optional>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"
#include "simd.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kIdsArea = 1 << 20;             // of a piece of a one-hot input's gradient
constexpr int64_t kStreamed = int64_t{64} << 20;  // bytes of a result that no cache will hold
constexpr int64_t kWorkPerTask = 1 << 16;         // multiply-adds that outweigh waking a thread
constexpr double kTurnWeight = 1.15;              // of a layout whose tiles are turned: 1.11 was no gain, 1.19 was

// Whether the result is better written past the caches. A line that is written in part is fetched after all, and waits
// for its rest, as it would of the narrowest vectors.
template <typename scalar_t>
bool is_streamed(const PairShape& s, const scalar_t* out) {
  const auto whole_lines = [](uintptr_t bytes) { return bytes % 64 == 0; };
  return vector_bytes() > 16 && s.N * s.O * s.I * int64_t{sizeof(scalar_t)} >= kStreamed &&
         whole_lines(s.I * sizeof(scalar_t)) && whole_lines(reinterpret_cast<uintptr_t>(out));
}

// With one position, row o of G[n] is a[n] times a number: written in the order of memory.
template <typename scalar_t>
void outer_products(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  const bool streamed = is_streamed(s, out);
  parallel_for(s.N, kWorkPerTask / (s.O * s.I + 1) + 1, [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> panels(panel_stride(s.I) + panel_stride(s.O));
    for (int64_t n = begin; n < end; ++n) {
      const scalar_t* a_n = features(a, n, 0, 1, 0, s.I, 1, panels.data).data;
      const scalar_t* b_n = features(b, n, 0, 1, 0, s.O, 1, panels.data + panel_stride(s.I)).data;
      scalar_t* const out_n = out + n * s.O * s.I;
      if (streamed)
        stream_outer(a_n, s.I, b_n, s.O, out_n);
      else
        write_outer(a_n, s.I, b_n, s.O, out_n);
    }
  });
}

}  // namespace

// Tiles that lie as the result does, or are turned where many positions outweigh that.
template <typename scalar_t>
void grads(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out) {
  if (s.T == 1) return outer_products(s, a, b, out);
  const double other = kTurnWeight * layout_cost(s, Layout::in_by_out);
  const Into into = s.T <= kFormDepth && is_streamed(s, out) ? Into::streamed : Into::place;
  const bool by_blas = into == Into::place && is_formed_by_blas(s, a, b);
  const bool turned = s.T > kFormDepth && !by_blas && other < layout_cost(s, Layout::out_by_in);
  const Former<scalar_t> form(s, a, b, turned ? Layout::in_by_out : Layout::out_by_in, by_blas);
  const Tiling tiling = form.tiling(form_area(s, sizeof(scalar_t)), kFormCols, blas_area<scalar_t>(1));
  const int64_t pieces = tiling.count(), cost = grads_cost(s) / std::max<int64_t>(1, pieces);
  parallel_for(s.N * pieces, kWorkPerTask / (cost + 1) + 1, [&](int64_t begin, int64_t end) {
    const FormScratch<scalar_t> panels(tiling);
    const Scratch<scalar_t> formed(turned ? tiling.edge_rows * tiling.edge_cols : 0);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t n = p / pieces;
      const Tile tile = tiling[p % pieces];
      if (turned) {
        form(n, tile, panels, formed.data, tile.cols);
        copy_block(formed.data, 1, tile.cols, tile.cols, tile.rows, out + (n * s.O + tile.c0) * s.I + tile.r0, s.I);
      } else {
        form(n, tile, panels, out + (n * s.O + tile.r0) * s.I + tile.c0, s.I, into);
      }
    }
    if (into == Into::streamed) end_streams();
  });
}

// Row by row, each written while it is in cache.
template <typename scalar_t>
void grads(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t pieces = std::clamp<int64_t>(s.I * s.O / kIdsArea, 1, s.O + (s.O == 0)), edge = ceil_div(s.O, pieces);
  parallel_for(s.N * pieces, kWorkPerTask / (edge * s.I + 1) + 1, [&](int64_t begin, int64_t end) {
    std::optional<Lookups> lookups;
    for (int64_t p = begin, last = -1; p < end; ++p) {
      const int64_t n = p / pieces, first = p % pieces * edge, width = std::clamp<int64_t>(s.O - first, 0, edge);
      if (n != last) lookups.emplace(s, a, n, 1);
      last = n;
      const auto grad = sparse_grad(*lookups, RowSum<scalar_t>(b, n, 1, edge), first, width);
      for (int64_t o = 0; o < width; ++o) {
        scalar_t* row = out + (n * s.O + first + o) * s.I;
        std::fill(row, row + s.I, scalar_t(0));
        for (int64_t k = 0; k < grad.count(); ++k) row[grad.column[k]] = grad.sum[k * width + o];
      }
    }
  });
}

template void grads(const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void grads(const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void grads(const PairShape&, const Ids&, const Rows<float>&, float*);
template void grads(const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
