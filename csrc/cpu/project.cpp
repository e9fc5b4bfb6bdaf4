#include "../project.h"

#include "../parallel.h"
#include "one_hot.h"
#include "project_kron.h"
#include "project_sjlt.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kWorkPerTask = 1 << 14;  // numbers added that outweigh waking a thread

// The columns that a sample points at, each with entries of its own.
template <typename scalar_t>
void one_hot_sjlt(const Sketch& sketch, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  const int64_t k = sketch.k, in_features = s.I - a.bias;
  parallel_for(s.N, kWorkPerTask / (s.T * s.O + k + 1) + 1, [&](int64_t begin, int64_t end) {
    std::vector<Entry> entries(s.O);
    for (int64_t n = begin; n < end; ++n) {
      scalar_t* const to = out + n * k;
      std::fill(to, to + k, scalar_t(0));
      const Lookups lookups(s, a, n, 1);
      const RowSum<scalar_t> sum(b, n, 1, s.O);
      for (int64_t c = 0; c < lookups.count(); ++c) {
        const int64_t i = lookups.column[c];
        const bool bias = i == in_features;
        draw_entries(sketch.source, bias ? s.O * in_features : i, bias ? 1 : in_features, s.O, k, entries.data());
        add_numbers(1, sum(lookups.begin(c), lookups.end(c), 0, s.O), 0, entries.data(), s.O, to);
      }
    }
  });
}

bool is_zero(const PairShape& s) { return s.T == 0 || s.I == 0 || s.O == 0; }

}  // namespace

template <typename scalar_t>
void project(const Sketch& sketch, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
             scalar_t* out) {
  if (s.N == 0) return;
  if (is_zero(s))
    std::fill(out, out + s.N * sketch.k, scalar_t(0));
  else if (sketch.kind == ProjectKind::sjlt)
    Sjlt<scalar_t>(sketch, s, a, b, out)();
  else
    KronSketch<scalar_t>(sketch, s, s.I - a.bias, out)(a, b);
}

template <typename scalar_t>
void project(const Sketch& sketch, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  if (s.N == 0) return;
  if (is_zero(s))
    std::fill(out, out + s.N * sketch.k, scalar_t(0));
  else if (sketch.kind == ProjectKind::sjlt)
    one_hot_sjlt(sketch, s, a, b, out);
  else
    KronSketch<scalar_t>(sketch, s, s.I - a.bias, out)(a, b);
}

template <typename scalar_t>
void add_sketches(const Sketch& sketch, int64_t N, const scalar_t* g, int64_t first, int64_t count, scalar_t* out) {
  constexpr int64_t slice = 1 << 16;  // entries that stay in cache until all samples have met them
  const Scratch<Entry> entries(std::min(slice, count));
  for (int64_t from = 0; from < count; from += slice) {
    const int64_t here = std::min(slice, count - from);
    parallel_for(here, kWorkPerTask / 4, [&](int64_t begin, int64_t end) {
      draw_entries(sketch.source, first + from + begin, 1, end - begin, sketch.k, entries.data + begin);
    });
    parallel_for(N, kWorkPerTask / here + 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        add_numbers(1, g + n * count + from, 0, entries.data, here, out + n * sketch.k);
    });
  }
}

template void add_sketches(const Sketch&, int64_t, const float*, int64_t, int64_t, float*);
template void add_sketches(const Sketch&, int64_t, const double*, int64_t, int64_t, double*);
template void project(const Sketch&, const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void project(const Sketch&, const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void project(const Sketch&, const PairShape&, const Ids&, const Rows<float>&, float*);
template void project(const Sketch&, const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
