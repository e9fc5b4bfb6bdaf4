#include "../vjp.h"
#include "batches.h"
#include "fill.h"
#include "fold.h"
#include "form.h"
#include "outer_sum.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

// Numbers of scratch for some samples, in its order.
struct Needs {
  int64_t first, second, partial;
  int64_t all() const { return first + second + partial; }
};

Needs needs_of_samples(VjpMethod method, const PairShape& s, int64_t K, int64_t bytes, bool widens) {
  const int64_t P = s.N * s.T, area = s.O * s.I;
  if (method == VjpMethod::scale)
    return {aligned(staged_numbers(P, s.O)), widens ? aligned(staged_numbers(P, s.I)) : 0,
            outer_sum_partials(P, s.O, s.I, false, bytes)};
  return {aligned(s.N * area), 0, outer_sum_partials(s.N, K, area, false, bytes)};
}

auto needs_of(VjpMethod method, const PairShape& s, int64_t K, int64_t bytes, bool widens) {
  return [=](int64_t N) { return bytes * needs_of_samples(method, {N, s.T, s.I, s.O}, K, bytes, widens).all(); };
}

// All of these add samples to out, unless they are the first.
template <typename scalar_t>
struct Batch {
  PairShape s;
  Rows<scalar_t> a, b;
  const scalar_t* w;  // of the batch's first sample; those of k are `all` * k further on
  int64_t all, K;
  bool add;
};

template <typename scalar_t>
const char* scale(const Batch<scalar_t>& batch, scalar_t* scratch, scalar_t* out, void* stream) {
  const auto& [s, a, b, w, all, K, add] = batch;
  const bool widens = a.storage != Storage::same;
  const Needs needs = needs_of_samples(VjpMethod::scale, s, K, sizeof(scalar_t), widens);
  // Positions of all samples, as the rows of one that was staged.
  Rows<scalar_t> x = stacked(a, 0, s.N), y;
  const char* error = nullptr;
  if (widens) error = stage<Change::none>(a, s.N, w, scratch + needs.first, x, stream);
  for (int64_t k = 0; k < K && !error; ++k) {
    error = stage<Change::weigh>(b, s.N, w + k * all, scratch, y, stream);
    if (!error)
      error = outer_sum(1, y, x, false, add, scratch + needs.first + needs.second, out + k * s.O * s.I, stream);
  }
  return error;
}

template <typename scalar_t>
const char* materialize(const Batch<scalar_t>& batch, scalar_t* scratch, scalar_t* out, void* stream) {
  const auto& [s, a, b, w, all, K, add] = batch;
  const Needs needs = needs_of_samples(VjpMethod::materialize, s, K, sizeof(scalar_t), false);
  const char* error = form(s, a, b, scratch, stream);
  if (error) return error;
  Rows<scalar_t> weights = {w, Storage::same, 0, {}, {}};
  weights.t.append(s.N, 1);
  weights.i.append(K, all);
  const Rows<scalar_t> formed = matrix<scalar_t>(scratch, s.N, s.O * s.I);
  return outer_sum(1, weights, formed, false, add, scratch + needs.first, out, stream);
}

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

}  // namespace

int64_t vjp_scratch(VjpMethod method, const PairShape& s, int64_t K, int64_t bytes, bool widens) {
  if (empty(s) || K == 0) return 0;
  if (method == VjpMethod::fold) return bytes * fold_partials(s);
  return need_of_batches(s.N, needs_of(method, s, K, bytes, widens));
}

template <typename scalar_t>
const char* vjp(VjpMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                const scalar_t* w, int64_t K, void* scratch, scalar_t* out, void* stream) {
  if (empty(s) || K == 0) return zero(K * s.O * s.I, out, stream);
  auto* const numbers = static_cast<scalar_t*>(scratch);
  const char* error = nullptr;
  if (method == VjpMethod::fold) {
    for (int64_t k = 0; k < K && !error; ++k) error = fold(s, a, b, w + k * s.N, numbers, out + k * s.O * s.I, stream);
    return error;
  }
  const auto run = method == VjpMethod::scale ? &scale<scalar_t> : &materialize<scalar_t>;
  const auto need = needs_of(method, s, K, sizeof(scalar_t), a.storage != Storage::same);
  return in_batches(s.N, need, [&](int64_t n, int64_t N) {
    const PairShape here = {N, s.T, s.I, s.O};
    return run(Batch<scalar_t>{here, from(a, n), from(b, n), w + n, s.N, K, n > 0}, numbers, out, stream);
  });
}

template <typename scalar_t>
const char* vjp(VjpMethod, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, const scalar_t* w, int64_t K,
                void*, scalar_t* out, void* stream) {
  if (empty(s)) return zero(K * s.O * s.I, out, stream);
  const char* error = nullptr;
  for (int64_t k = 0; k < K && !error; ++k) error = fold(s, a, b, w + k * s.N, out + k * s.O * s.I, stream);
  return error;
}

template const char* vjp(VjpMethod, const PairShape&, const Rows<float>&, const Rows<float>&, const float*, int64_t,
                         void*, float*, void*);
template const char* vjp(VjpMethod, const PairShape&, const Rows<double>&, const Rows<double>&, const double*, int64_t,
                         void*, double*, void*);
template const char* vjp(VjpMethod, const PairShape&, const Ids&, const Rows<float>&, const float*, int64_t, void*,
                         float*, void*);
template const char* vjp(VjpMethod, const PairShape&, const Ids&, const Rows<double>&, const double*, int64_t, void*,
                         double*, void*);

}  // namespace infotorch::cuda
