#include "../fisher.h"
#include "batches.h"
#include "fill.h"
#include "fold.h"
#include "form.h"
#include "outer_sum.h"
#include "stage.h"

namespace infotorch::cuda {
namespace {

// What the diagonal with one position holds: squares.
template <typename scalar_t>
struct Squares {
  scalar_t *b, *a, *partial;

  Squares(const PairShape& s, Scratch& scratch)
      : b(scratch.take<scalar_t>(staged_numbers(s.N, s.O))),
        a(scratch.take<scalar_t>(staged_numbers(s.N, s.I))),
        partial(scratch.take<scalar_t>(outer_sum_partials(s.N, s.O, s.I, false, sizeof(scalar_t)))) {}
};

// What the full form holds: the gradients.
template <typename scalar_t>
struct Formed {
  scalar_t *g, *partial;

  Formed(const PairShape& s, Scratch& scratch)
      : g(scratch.take<scalar_t>(s.N * s.O * s.I)),
        partial(scratch.take<scalar_t>(outer_sum_partials(s.N, s.O * s.I, s.O * s.I, true, sizeof(scalar_t)))) {}
};

template <typename scalar_t>
auto need_of(FisherForm form, const PairShape& s) {
  return [=](int64_t N) {
    const PairShape some = {N, s.T, s.I, s.O};
    return form == FisherForm::full ? bytes_of<Formed<scalar_t>>(some) : bytes_of<Squares<scalar_t>>(some);
  };
}

// With one position, squares of products are products of squares.
template <typename scalar_t>
const char* diagonal_of_products(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, bool add,
                                 Scratch scratch, scalar_t* out, void* stream) {
  const Squares<scalar_t> held(s, scratch);
  const scalar_t* const unweighted = nullptr;
  Rows<scalar_t> y, x;
  const char* error = stage<Change::square>(b, s.N, unweighted, held.b, y, stream);
  if (!error) error = stage<Change::square>(a, s.N, unweighted, held.a, x, stream);
  return error ? error : outer_sum(1, y, x, false, add, held.partial, out, stream);
}

// Side is Rows<scalar_t> or Ids.
template <typename scalar_t, typename Side>
const char* full(const PairShape& s, const Side& a, const Rows<scalar_t>& b, bool add, Scratch scratch, scalar_t* out,
                 void* stream) {
  const Formed<scalar_t> held(s, scratch);
  const char* error = form(s, a, b, held.g, stream);
  const Rows<scalar_t> formed = matrix<scalar_t>(held.g, s.N, s.O * s.I);
  return error ? error : outer_sum(1, formed, formed, true, add, held.partial, out, stream);
}

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

// Whether the diagonal is summed gradient by gradient.
bool folds(FisherForm form, const PairShape& s, bool one_hot) {
  return form == FisherForm::diagonal && (one_hot || s.T > 1);
}

template <typename scalar_t>
const char* fold_squares(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* scratch,
                         scalar_t* out, void* stream) {
  return fold(s, a, b, static_cast<const scalar_t*>(nullptr), scratch, out, stream);
}

template <typename scalar_t>
const char* fold_squares(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t*, scalar_t* out,
                         void* stream) {
  return fold(s, a, b, static_cast<const scalar_t*>(nullptr), out, stream);
}

template <typename scalar_t, typename Side>
const char* any_fisher(FisherForm form, const PairShape& s, const Side& a, const Rows<scalar_t>& b, void* scratch,
                       scalar_t* out, void* stream) {
  constexpr bool kOneHot = std::is_same_v<Side, Ids>;
  const int64_t area = s.O * s.I;
  if (empty(s)) return zero(form == FisherForm::full ? area * area : area, out, stream);
  if (folds(form, s, kOneHot)) return fold_squares(s, a, b, static_cast<scalar_t*>(scratch), out, stream);
  return in_batches(s.N, need_of<scalar_t>(form, s), [&](int64_t n, int64_t N) {
    const PairShape here = {N, s.T, s.I, s.O};
    if constexpr (!kOneHot)
      if (form == FisherForm::diagonal)
        return diagonal_of_products(here, from(a, n), from(b, n), n > 0, Scratch(scratch), out, stream);
    return full(here, from(a, n), from(b, n), n > 0, Scratch(scratch), out, stream);
  });
}

}  // namespace

int64_t fisher_scratch(FisherForm form, const PairShape& s, int64_t bytes, bool one_hot) {
  if (empty(s)) return 0;
  if (folds(form, s, one_hot)) return one_hot ? 0 : bytes * fold_partials(s);
  return bytes == sizeof(double) ? need_of_batches(s.N, need_of<double>(form, s))
                                 : need_of_batches(s.N, need_of<float>(form, s));
}

template <typename scalar_t>
const char* fisher(FisherForm form, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, void* scratch,
                   scalar_t* out, void* stream) {
  return any_fisher(form, s, a, b, scratch, out, stream);
}

template <typename scalar_t>
const char* fisher(FisherForm form, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, void* scratch,
                   scalar_t* out, void* stream) {
  return any_fisher(form, s, a, b, scratch, out, stream);
}

template const char* fisher(FisherForm, const PairShape&, const Rows<float>&, const Rows<float>&, void*, float*, void*);
template const char* fisher(FisherForm, const PairShape&, const Rows<double>&, const Rows<double>&, void*, double*,
                            void*);
template const char* fisher(FisherForm, const PairShape&, const Ids&, const Rows<float>&, void*, float*, void*);
template const char* fisher(FisherForm, const PairShape&, const Ids&, const Rows<double>&, void*, double*, void*);

}  // namespace infotorch::cuda
