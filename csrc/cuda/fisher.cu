#include "../fisher.h"
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

Needs needs_of_samples(FisherForm form, const PairShape& s, int64_t bytes) {
  const int64_t area = s.O * s.I;
  if (form == FisherForm::full) return {aligned(s.N * area), 0, outer_sum_partials(s.N, area, area, true, bytes)};
  return {aligned(staged_numbers(s.N, s.O)), aligned(staged_numbers(s.N, s.I)),
          outer_sum_partials(s.N, s.O, s.I, false, bytes)};
}

auto needs_of(FisherForm form, const PairShape& s, int64_t bytes) {
  return [=](int64_t N) { return bytes * needs_of_samples(form, {N, s.T, s.I, s.O}, bytes).all(); };
}

// With one position, squares of products are products of squares.
template <typename scalar_t>
const char* diagonal_of_products(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, bool add,
                                 scalar_t* scratch, scalar_t* out, void* stream) {
  const Needs needs = needs_of_samples(FisherForm::diagonal, s, sizeof(scalar_t));
  const scalar_t* const unweighted = nullptr;
  Rows<scalar_t> y, x;
  const char* error = stage<Change::square>(b, s.N, unweighted, scratch, y, stream);
  if (!error) error = stage<Change::square>(a, s.N, unweighted, scratch + needs.first, x, stream);
  return error ? error : outer_sum(1, y, x, false, add, scratch + needs.first + needs.second, out, stream);
}

// Side is Rows<scalar_t> or Ids.
template <typename scalar_t, typename Side>
const char* full(const PairShape& s, const Side& a, const Rows<scalar_t>& b, bool add, scalar_t* scratch, scalar_t* out,
                 void* stream) {
  const Needs needs = needs_of_samples(FisherForm::full, s, sizeof(scalar_t));
  const char* error = form(s, a, b, scratch, stream);
  const Rows<scalar_t> formed = matrix<scalar_t>(scratch, s.N, s.O * s.I);
  return error ? error : outer_sum(1, formed, formed, true, add, scratch + needs.first, out, stream);
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
  auto* const numbers = static_cast<scalar_t*>(scratch);
  if (folds(form, s, kOneHot)) return fold_squares(s, a, b, numbers, out, stream);
  return in_batches(s.N, needs_of(form, s, sizeof(scalar_t)), [&](int64_t n, int64_t N) {
    const PairShape here = {N, s.T, s.I, s.O};
    if constexpr (!kOneHot)
      if (form == FisherForm::diagonal)
        return diagonal_of_products(here, from(a, n), from(b, n), n > 0, numbers, out, stream);
    return full(here, from(a, n), from(b, n), n > 0, numbers, out, stream);
  });
}

}  // namespace

int64_t fisher_scratch(FisherForm form, const PairShape& s, int64_t bytes, bool one_hot) {
  if (empty(s)) return 0;
  if (folds(form, s, one_hot)) return one_hot ? 0 : bytes * fold_partials(s);
  return need_of_batches(s.N, needs_of(form, s, bytes));
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
