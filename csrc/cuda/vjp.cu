#include "../vjp.h"
#include "batches.h"
#include "fill.h"
#include "fold.h"
#include "form.h"
#include "outer_sum.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

// What scaling holds: the rows of b weighted, those of a if they are widened.
template <typename scalar_t>
struct Scaled {
  scalar_t *b, *a, *partial;

  Scaled(const PairShape& s, bool widens, Scratch& scratch)
      : b(scratch.take<scalar_t>(staged_numbers(s.N * s.T, s.O))),
        a(scratch.take<scalar_t>(widens ? staged_numbers(s.N * s.T, s.I) : 0)),
        partial(scratch.take<scalar_t>(outer_sum_partials(s.N * s.T, s.O, s.I, false, sizeof(scalar_t)))) {}
};

// What materializing holds: the gradients.
template <typename scalar_t>
struct Formed {
  scalar_t *g, *partial;

  Formed(const PairShape& s, int64_t K, Scratch& scratch)
      : g(scratch.take<scalar_t>(s.N * s.O * s.I)),
        partial(scratch.take<scalar_t>(outer_sum_partials(s.N, K, s.O * s.I, false, sizeof(scalar_t)))) {}
};

template <typename scalar_t>
auto need_of(VjpMethod method, const PairShape& s, int64_t K, bool widens) {
  return [=](int64_t N) {
    const PairShape some = {N, s.T, s.I, s.O};
    return method == VjpMethod::scale ? bytes_of<Scaled<scalar_t>>(some, widens) : bytes_of<Formed<scalar_t>>(some, K);
  };
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
const char* scale(const Batch<scalar_t>& batch, Scratch scratch, scalar_t* out, void* stream) {
  const auto& [s, a, b, w, all, K, add] = batch;
  const bool widens = a.storage != Storage::same;
  const Scaled<scalar_t> held(s, widens, scratch);
  Rows<scalar_t> x = stacked(a, 0, s.N), y;  // positions of all samples, as those of one
  const char* error = nullptr;
  if (widens) error = stage<Change::none>(a, s.N, w, held.a, x, stream);
  for (int64_t k = 0; k < K && !error; ++k) {
    error = stage<Change::weigh>(b, s.N, w + k * all, held.b, y, stream);
    if (!error) error = outer_sum(1, y, x, false, add, held.partial, out + k * s.O * s.I, stream);
  }
  return error;
}

template <typename scalar_t>
const char* materialize(const Batch<scalar_t>& batch, Scratch scratch, scalar_t* out, void* stream) {
  const auto& [s, a, b, w, all, K, add] = batch;
  const Formed<scalar_t> held(s, K, scratch);
  const char* error = form(s, a, b, held.g, stream);
  if (error) return error;
  Rows<scalar_t> weights = {w, Storage::same, 0, {}, {}};
  weights.t.append(s.N, 1);
  weights.i.append(K, all);
  const Rows<scalar_t> formed = matrix<scalar_t>(held.g, s.N, s.O * s.I);
  return outer_sum(1, weights, formed, false, add, held.partial, out, stream);
}

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

}  // namespace

int64_t vjp_scratch(VjpMethod method, const PairShape& s, int64_t K, int64_t bytes, bool widens) {
  if (empty(s) || K == 0) return 0;
  if (method == VjpMethod::fold) return bytes * fold_partials(s);
  return bytes == sizeof(double) ? need_of_batches(s.N, need_of<double>(method, s, K, widens))
                                 : need_of_batches(s.N, need_of<float>(method, s, K, widens));
}

template <typename scalar_t>
const char* vjp(VjpMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                const scalar_t* w, int64_t K, void* scratch, scalar_t* out, void* stream) {
  if (empty(s) || K == 0) return zero(K * s.O * s.I, out, stream);
  const char* error = nullptr;
  if (method == VjpMethod::fold) {
    for (int64_t k = 0; k < K && !error; ++k)
      error = fold(s, a, b, w + k * s.N, static_cast<scalar_t*>(scratch), out + k * s.O * s.I, stream);
    return error;
  }
  const auto run = method == VjpMethod::scale ? &scale<scalar_t> : &materialize<scalar_t>;
  return in_batches(s.N, need_of<scalar_t>(method, s, K, a.storage != Storage::same), [&](int64_t n, int64_t N) {
    const PairShape here = {N, s.T, s.I, s.O};
    return run(Batch<scalar_t>{here, from(a, n), from(b, n), w + n, s.N, K, n > 0}, Scratch(scratch), out, stream);
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
