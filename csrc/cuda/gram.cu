#include "../gram.h"
#include "gram_materialize.h"
#include "gram_positions.h"

namespace infotorch::cuda {
namespace {

bool empty(const PairShape& x, const PairShape& y) {
  return x.N == 0 || y.N == 0 || x.T == 0 || y.T == 0 || x.I == 0 || x.O == 0;
}

// Runs one of the three ways on typed sides.
template <typename scalar_t, typename stored_t>
const char* run(GramMethod method, const PairShape& x, const PairShape& y, const Sides<stored_t>& sides, bool tf32,
                void* scratch, const Results<scalar_t>& results, void* stream) {
  auto* const numbers = static_cast<scalar_t*>(scratch);
  if (method == GramMethod::materialize)
    return MaterializedGram<stored_t, scalar_t>(x, y, sides, tf32, numbers, results, stream)();
  const PositionsPlan plan = positions_plan(x, y, results.symmetric, sides.a.ids != nullptr, sizeof(scalar_t));
  if (plan.a_pieces > 0) return gram_pieces(plan, sides, tf32, numbers, results, stream);
  return gram_whole(plan, sides, tf32, static_cast<double*>(scratch), results, stream);
}

template <typename scalar_t>
const char* zeros(const Results<scalar_t>& results, void* stream) {
  return add_splits<scalar_t>(0, results.out, 0, 0, results.N, results.M, results, stream);
}

}  // namespace

int64_t gram_scratch(GramMethod method, const PairShape& x, const PairShape& y, bool symmetric, bool one_hot,
                     int64_t bytes) {
  if (empty(x, y)) return 0;
  if (method == GramMethod::materialize && !one_hot)
    return materialize_scratch(materialize_plan(x, y, symmetric, bytes)) * bytes;
  return positions_scratch(positions_plan(x, y, symmetric, one_hot, bytes), bytes);
}

template <typename scalar_t>
const char* gram(GramMethod method, const Samples<scalar_t, Rows<scalar_t>>& x,
                 const Samples<scalar_t, Rows<scalar_t>>& y, bool symmetric, bool tf32, void* scratch, scalar_t* out,
                 void* stream) {
  const Results<scalar_t> results = {x.shape.N, y.shape.N, symmetric, out, nullptr};
  if (empty(x.shape, y.shape)) return zeros(results, stream);
  return with_views(
      [&](const auto& a, const auto& b, const auto& a2, const auto& b2) {
        const Sides<typename std::decay_t<decltype(b)>::stored_t> sides = {left_side(a), b, left_side(a2), b2};
        return run(method, x.shape, y.shape, sides, tf32, scratch, results, stream);
      },
      Stack{x.a, x.shape.N}, Stack{x.b, x.shape.N}, Stack{y.a, y.shape.N}, Stack{y.b, y.shape.N});
}

template <typename scalar_t>
const char* gram(GramMethod, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric,
                 bool tf32, void* scratch, scalar_t* out, void* stream) {
  const Results<scalar_t> results = {x.shape.N, y.shape.N, symmetric, out, nullptr};
  if (empty(x.shape, y.shape)) return zeros(results, stream);
  return with_views(
      [&](const auto& b, const auto& b2) {
        using stored_t = typename std::decay_t<decltype(b)>::stored_t;
        const Sides<stored_t> sides = {left_side<stored_t>(x.a, x.shape), b, left_side<stored_t>(y.a, y.shape), b2};
        return run(GramMethod::gram, x.shape, y.shape, sides, tf32, scratch, results, stream);
      },
      Stack{x.b, x.shape.N}, Stack{y.b, y.shape.N});
}

template const char* gram(GramMethod, const Samples<float, Rows<float>>&, const Samples<float, Rows<float>>&, bool,
                          bool, void*, float*, void*);
template const char* gram(GramMethod, const Samples<double, Rows<double>>&, const Samples<double, Rows<double>>&, bool,
                          bool, void*, double*, void*);
template const char* gram(GramMethod, const Samples<float, Ids>&, const Samples<float, Ids>&, bool, bool, void*, float*,
                          void*);
template const char* gram(GramMethod, const Samples<double, Ids>&, const Samples<double, Ids>&, bool, bool, void*,
                          double*, void*);

}  // namespace infotorch::cuda
