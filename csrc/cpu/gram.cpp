#include "../gram.h"

#include "../parallel.h"
#include "gram_materialize.h"
#include "gram_positions.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBudget = int64_t{16} << 20;  // bytes of packed positions held at once, of each set

template <typename scalar_t>
using Set = Samples<scalar_t, Rows<scalar_t>>;

// Runs body(n0, count, m0, count) over blocks of the result, in the upper triangle if symmetric.
template <typename Body>
void for_blocks(int64_t N, int64_t edge_n, int64_t M, int64_t edge_m, bool symmetric, const Body& body) {
  for (int64_t n0 = 0; n0 < N; n0 += edge_n)
    for (int64_t m0 = symmetric ? n0 : 0; m0 < M; m0 += edge_m)
      body(n0, std::min(edge_n, N - n0), m0, std::min(edge_m, M - m0));
}

template <typename scalar_t>
void gram_blocks(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const auto edge = [](const PairShape& s) {
    return std::max<int64_t>(1, kBudget / static_cast<int64_t>(sizeof(scalar_t) * s.T * (s.I + s.O)));
  };
  const int64_t N = x.shape.N, M = y.shape.N;
  for_blocks(N, edge(x.shape), M, edge(y.shape), symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               const Positions<scalar_t> left(x, n0, N_here);
               if (symmetric && n0 == m0) return gram_positions(left, left, true, out + n0 * M + m0, M);
               gram_positions(left, Positions<scalar_t>(y, m0, M_here), false, out + n0 * M + m0, M);
             });
  if (symmetric && N > edge(x.shape)) mirror(N, out);
}

template <typename scalar_t>
void gram_tiles(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  MaterializedGram<scalar_t>(x, y, symmetric, out)();
  if (symmetric) mirror(x.shape.N, out);
}

}  // namespace

template <typename scalar_t>
void mirror(int64_t N, scalar_t* out) {
  constexpr int64_t edge = 64;
  parallel_for(ceil_div(N, edge), 4, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = begin * edge; n0 < std::min(N, end * edge); n0 += edge) {
      const int64_t rows = std::min(edge, N - n0);
      for (int64_t m0 = 0; m0 < n0; m0 += edge) copy_block(out + m0 * N + n0, 1, N, rows, edge, out + n0 * N + m0, N);
      for (int64_t n = n0; n < n0 + rows; ++n)
        for (int64_t m = n0; m < n; ++m) out[n * N + m] = out[m * N + n];
    }
  });
}

template <typename scalar_t>
void row_products(int64_t N, const scalar_t* x, int64_t M, const scalar_t* y, int64_t depth, bool symmetric, bool add,
                  scalar_t* out) {
  constexpr int64_t slice = 4096;  // columns: those of all samples stay in cache
  const int64_t slices = ceil_div(depth, slice);
  const Scratch<double> partial(slices * N * M);
  parallel_tasks(
      slices, 1, [] { return 0; },
      [&](int64_t k, int) {
        const int64_t begin = k * slice, count = std::min(slice, depth - begin);
        for (int64_t n = 0; n < N; ++n)
          for (int64_t m = symmetric ? n : 0; m < M; ++m)
            partial.data[(k * N + n) * M + m] = dot(x + n * depth + begin, y + m * depth + begin, count);
      });
  for (int64_t n = 0; n < N; ++n)
    for (int64_t m = symmetric ? n : 0; m < M; ++m) {
      double total = add ? out[n * M + m] : 0;
      for (int64_t k = 0; k < slices; ++k) total += partial.data[(k * N + n) * M + m];
      out[n * M + m] = static_cast<scalar_t>(total);
    }
}

template <typename scalar_t>
void gram(GramMethod method, const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const PairShape &s = x.shape, &s2 = y.shape;
  if (s.N == 0 || s2.N == 0) return;
  if (s.T == 0 || s2.T == 0 || s.I == 0 || s.O == 0)
    std::fill(out, out + s.N * s2.N, scalar_t(0));
  else if (method == GramMethod::gram)
    gram_blocks(x, y, symmetric, out);
  else
    gram_tiles(x, y, symmetric, out);
}

template <typename scalar_t>
void gram(GramMethod, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric, scalar_t* out) {
  const auto edge = [](const PairShape& s) {
    return std::max<int64_t>(1, kBudget / static_cast<int64_t>(sizeof(scalar_t) * (s.T + 1) * (s.O + 2) + 1));
  };
  const auto columns = [](const Samples<scalar_t, Ids>& set, int64_t n0, int64_t count) {
    std::vector<Columns<scalar_t>> all(count);
    parallel_for(count, ceil_div(1 << 12, set.shape.T * set.shape.O + 1), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) all[n] = columns_of(set.shape, set.a, set.b, n0 + n);
    });
    return all;
  };
  const int64_t M = y.shape.N;
  for_blocks(x.shape.N, edge(x.shape), M, edge(y.shape), symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               const bool diagonal = symmetric && n0 == m0;
               const auto left = columns(x, n0, N_here), right = columns(y, m0, M_here);
               parallel_for(N_here, 1, [&](int64_t begin, int64_t end) {
                 for (int64_t n = begin; n < end; ++n)
                   for (int64_t m = diagonal ? n : 0; m < M_here; ++m)
                     out[(n0 + n) * M + m0 + m] = static_cast<scalar_t>(inner_product(left[n], right[m], x.shape.O));
               });
             });
  if (symmetric) mirror(x.shape.N, out);
}

template void mirror(int64_t, float*);
template void mirror(int64_t, double*);
template void row_products(int64_t, const float*, int64_t, const float*, int64_t, bool, bool, float*);
template void row_products(int64_t, const double*, int64_t, const double*, int64_t, bool, bool, double*);
template void gram(GramMethod, const Set<float>&, const Set<float>&, bool, float*);
template void gram(GramMethod, const Set<double>&, const Set<double>&, bool, double*);
template void gram(GramMethod, const Samples<float, Ids>&, const Samples<float, Ids>&, bool, float*);
template void gram(GramMethod, const Samples<double, Ids>&, const Samples<double, Ids>&, bool, double*);

}  // namespace infotorch::cpu
