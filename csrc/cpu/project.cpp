#include "../project.h"

#include "../parallel.h"
#include "one_hot.h"
#include "project_kron.h"
#include "project_sjlt.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kWorkPerTask = 1 << 14;  // numbers added that outweigh waking a thread

// out [N, seeds, k] += those of the columns that a sample points at, each with entries of its own.
template <typename scalar_t>
void one_hot_sjlt(const Sketch& sketch, const PairShape& s, int64_t seeds, const Ids& a, const Rows<scalar_t>& b,
                  scalar_t* out) {
  const int64_t k = sketch.k, in_features = s.I - a.bias;
  parallel_for(s.N, kWorkPerTask / (seeds * (s.T * s.O + k + 1)) + 1, [&](int64_t begin, int64_t end) {
    std::vector<Entry> entries(s.O);
    std::vector<int64_t> positions;
    for (int64_t n = begin; n < end; ++n) {
      const Lookups lookups(s, a, n, 1);
      const RowSum<scalar_t> sum(b, n * seeds, seeds, s.O);
      for (int64_t c = 0; c < lookups.count(); ++c) {
        const int64_t i = lookups.column[c];
        const bool bias = i == in_features;
        draw_entries(sketch.source, bias ? s.O * in_features : i, bias ? 1 : in_features, s.O, k, entries.data());
        positions.assign(lookups.begin(c), lookups.end(c));
        const int64_t* const first = positions.data();
        for (int64_t seed = 0; seed < seeds; ++seed) {
          add_numbers(1, sum(first, first + positions.size(), 0, s.O), 0, entries.data(), s.O,
                      out + (n * seeds + seed) * k);
          for (int64_t& position : positions) position += s.T;
        }
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
    Sjlt<scalar_t>(sketch, s, 1, a, b, false, out)();
  else
    KronSketch<scalar_t>(sketch, s, s.I - a.bias, out)(a, b);
}

template <typename scalar_t>
void project(const Sketch& sketch, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out) {
  if (s.N == 0) return;
  if (sketch.kind == ProjectKind::kron && !is_zero(s)) return KronSketch<scalar_t>(sketch, s, s.I - a.bias, out)(a, b);
  std::fill(out, out + s.N * sketch.k, scalar_t(0));
  add_projections(sketch, s, 1, a, b, out);
}

template <typename scalar_t>
void add_projections(const Sketch& sketch, const PairShape& s, int64_t seeds, const Rows<scalar_t>& a,
                     const Rows<scalar_t>& b, scalar_t* out) {
  if (s.N * seeds > 0 && !is_zero(s)) Sjlt<scalar_t>(sketch, s, seeds, a, b, true, out)();
}

template <typename scalar_t>
void add_projections(const Sketch& sketch, const PairShape& s, int64_t seeds, const Ids& a, const Rows<scalar_t>& b,
                     scalar_t* out) {
  if (s.N * seeds > 0 && !is_zero(s)) one_hot_sjlt(sketch, s, seeds, a, b, out);
}

template void add_projections(const Sketch&, const PairShape&, int64_t, const Rows<float>&, const Rows<float>&, float*);
template void add_projections(const Sketch&, const PairShape&, int64_t, const Rows<double>&, const Rows<double>&,
                              double*);
template void add_projections(const Sketch&, const PairShape&, int64_t, const Ids&, const Rows<float>&, float*);
template void add_projections(const Sketch&, const PairShape&, int64_t, const Ids&, const Rows<double>&, double*);
template void project(const Sketch&, const PairShape&, const Rows<float>&, const Rows<float>&, float*);
template void project(const Sketch&, const PairShape&, const Rows<double>&, const Rows<double>&, double*);
template void project(const Sketch&, const PairShape&, const Ids&, const Rows<float>&, float*);
template void project(const Sketch&, const PairShape&, const Ids&, const Rows<double>&, double*);

}  // namespace infotorch::cpu
