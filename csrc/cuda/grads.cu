#include "../grads.h"
#include "form.h"
#include "one_hot.h"

namespace infotorch::cuda {
namespace {

// Warps own blocks of every G[n] [O, I], and write them.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kWalkThreads)
    one_hot_kernel(PairShape s, Columns<scalar_t> columns, const __grid_constant__ IdView ids,
                   const __grid_constant__ View<stored_t> b, scalar_t* out) {
  const Owned mine(columns);
  const int64_t n = mine.result;
  if (n >= s.N) return;
  scalar_t* const cells = lane_cells(dynamic_shared<scalar_t>());
  walk(columns, mine, ids, b, n * s.T, (n + 1) * s.T,
       [&](int64_t, int column, scalar_t x) { cells[column * (kWarp + 1)] += x; });
  write_columns(columns, mine, cells, out + n * s.O * s.I);
}

}  // namespace

template <typename scalar_t>
const char* grads(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  return form(s, a, b, out, stream);
}

template <typename scalar_t>
const char* grads(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  const Columns<scalar_t> columns(s.O, s.I);
  return with_views(
      s.N,
      [&](const auto& b_view) {
        using stored_t = typename std::decay_t<decltype(b_view)>::stored_t;
        return launch(&one_hot_kernel<stored_t, scalar_t>, columns.blocks(s.N), kWalkThreads, columns.kSharedBytes,
                      stream, s, columns, id_view(a, s), b_view, out);
      },
      b);
}

template const char* grads(const PairShape&, const Rows<float>&, const Rows<float>&, float*, void*);
template const char* grads(const PairShape&, const Rows<double>&, const Rows<double>&, double*, void*);
template const char* grads(const PairShape&, const Ids&, const Rows<float>&, float*, void*);
template const char* grads(const PairShape&, const Ids&, const Rows<double>&, double*, void*);

}  // namespace infotorch::cuda
