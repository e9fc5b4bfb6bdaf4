#include "../gram.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "../parallel.h"
#include "gram_materialize.h"
#include "gram_positions.h"
#include "one_hot.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kBudget = int64_t{16} << 20;  // bytes of packed positions held at once, of each set ...
constexpr int64_t kLarge = int64_t{24} << 20;   // ... or of one sample; those that take more are never packed whole

template <typename scalar_t>
using Set = Samples<scalar_t, Rows<scalar_t>>;

// Runs body(n0, count, m0, count) over blocks of the result, in the upper triangle if symmetric.
template <typename Body>
void for_blocks(int64_t N, int64_t edge_n, int64_t M, int64_t edge_m, bool symmetric, const Body& body) {
  for (int64_t n0 = 0; n0 < N; n0 += edge_n)
    for (int64_t m0 = symmetric ? n0 : 0; m0 < M; m0 += edge_m)
      body(n0, std::min(edge_n, N - n0), m0, std::min(edge_m, M - m0));
}

// out [N, N] below its diagonal becomes what is above.
template <typename scalar_t>
void mirror(int64_t N, scalar_t* out) {
  constexpr int64_t edge = 64;
  parallel_for(ceil_div(N, edge), 4, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = begin * edge; n0 < std::min(N, end * edge); n0 += edge)
      for (int64_t m0 = 0; m0 <= n0; m0 += edge)
        mirror_tile(out, N, m0, std::min(edge, N - m0), n0, std::min(edge, N - n0));
  });
}

// out[n, m] for samples of which each fills a cache many times: every tile takes what it needs, a slice of features at
// a time.
template <typename scalar_t>
void gram_slices(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  constexpr int64_t edge = PositionTile<scalar_t>::kEdge;
  const int64_t N = x.shape.N, T = x.shape.T, M = y.shape.N, S = y.shape.T, across = ceil_div(S, edge),
                tiles = ceil_div(T, edge) * across;
  struct Worker {
    PositionTile<scalar_t> tile;
    Scratch<scalar_t> scratch;
  };
  std::vector<double> partial(M * tiles);
  for (int64_t n = 0; n < N; ++n) {
    const int64_t first = symmetric ? n : 0;
    parallel_tasks(
        (M - first) * tiles, 1, [] { return Worker{{}, Scratch<scalar_t>(PositionTile<scalar_t>::kScratch)}; },
        [&](int64_t task, Worker& worker) {
          const int64_t m = first + task / tiles, row = task % tiles / across * edge, col = task % across * edge;
          const bool same = symmetric && n == m, triangle = same && row == col;
          double& total = partial[m * tiles + task % tiles];
          total = 0;
          if (same && col < row) return;
          const Span rows = {row, std::min(edge, T - row), T}, cols = {col, std::min(edge, S - col), S};
          form_positions(x.a, n, rows, y.a, m, cols, triangle, false, worker.scratch.data, worker.tile.aa);
          form_positions(x.b, n, rows, y.b, m, cols, triangle, false, worker.scratch.data, worker.tile.bb);
          worker.tile.add_to(rows, cols, same, &total, 1);
        });
    for (int64_t m = first; m < M; ++m) {
      const auto from = partial.begin() + m * tiles;
      out[n * M + m] = static_cast<scalar_t>(std::accumulate(from, from + tiles, 0.));
    }
  }
  if (symmetric) mirror(N, out);
}

template <typename scalar_t>
void gram_blocks(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  if (has_one_tile<scalar_t>(x.shape, y.shape)) return gram_of_one_tile(x, y, symmetric, out);
  const auto bytes = [](const PairShape& s) { return static_cast<int64_t>(sizeof(scalar_t)) * s.T * (s.I + s.O); };
  const auto edge = [&](const PairShape& s) { return std::max<int64_t>(1, kBudget / bytes(s)); };
  if (std::max(bytes(x.shape), bytes(y.shape)) > kLarge) return gram_slices(x, y, symmetric, out);
  const int64_t N = x.shape.N, M = y.shape.N;
  for_blocks(N, edge(x.shape), M, edge(y.shape), symmetric,
             [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
               const Positions<scalar_t> left(x, n0, N_here);
               if (symmetric && n0 == m0) return gram_positions(left, left, true, out + n0 * M + m0, M);
               gram_positions(left, Positions<scalar_t>(y, m0, M_here), false, out + n0 * M + m0, M);
             });
  if (symmetric && N > edge(x.shape)) mirror(N, out);
}

// Samples n0 ... n0 + N of a set.
template <typename scalar_t>
Set<scalar_t> part(const Set<scalar_t>& x, int64_t n0, int64_t N) {
  Set<scalar_t> some = x;
  some.shape.N = N;
  some.a.data = x.a.at(n0 * x.a.n_stride);
  some.b.data = x.b.at(n0 * x.b.n_stride);
  return some;
}

// As many samples at a time as the gradients' smallest tiles fit the memory for: all, but for tens of thousands.
template <typename scalar_t>
void gram_tiles(const Set<scalar_t>& x, const Set<scalar_t>& y, bool symmetric, scalar_t* out) {
  const int64_t N = x.shape.N, M = y.shape.N, most = MaterializedGram<scalar_t>::kMostSamples;
  const auto edge = [&](int64_t beside) { return std::max(most - beside, most / 2); };
  const int64_t edge_n = symmetric && N <= most ? most : edge(M), edge_m = symmetric ? edge_n : edge(N);
  for_blocks(N, edge_n, M, edge_m, symmetric, [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
    const Set<scalar_t> left = part(x, n0, N_here), right = part(y, m0, M_here);
    MaterializedGram<scalar_t>(left, right, symmetric && n0 == m0, out + n0 * M + m0, M)();
  });
  if (symmetric) mirror(N, out);
}

}  // namespace

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

// Columns of some samples of each set at a time, and some of their out-features where one sample has too many.
template <typename scalar_t>
void gram(GramMethod, const Samples<scalar_t, Ids>& x, const Samples<scalar_t, Ids>& y, bool symmetric, scalar_t* out) {
  const auto numbers = [](const Samples<scalar_t, Ids>& set, int64_t width) {  // of one sample
    return (most_columns(set.shape, set.a) + 1) * (width + 2);
  };
  const int64_t M = y.shape.N, O = x.shape.O, budget = kBudget / sizeof(scalar_t);
  const int64_t most = std::clamp<int64_t>(budget / std::max(numbers(x, 0), numbers(y, 0)), 1, std::max<int64_t>(1, O));
  const auto edge = [&](const Samples<scalar_t, Ids>& set) {
    return std::max<int64_t>(1, budget / numbers(set, most));
  };
  int64_t o0 = 0;
  do {  // once even if there are no out-features
    const int64_t width = std::min(most, O - o0);
    const auto grads = [&](const Samples<scalar_t, Ids>& set, int64_t n0, int64_t count) {
      std::vector<SparseGrad<scalar_t>> all(count);
      parallel_for(count, ceil_div(1 << 12, set.shape.T * width + 1), [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n)
          all[n] =
              sparse_grad(Lookups(set.shape, set.a, n0 + n, 1), RowSum<scalar_t>(set.b, n0 + n, 1, width), o0, width);
      });
      return all;
    };
    for_blocks(x.shape.N, edge(x), M, edge(y), symmetric, [&](int64_t n0, int64_t N_here, int64_t m0, int64_t M_here) {
      const bool diagonal = symmetric && n0 == m0;
      const auto left = grads(x, n0, N_here), other = grads(y, m0, diagonal ? 0 : M_here);
      const auto& right = diagonal ? left : other;
      parallel_for(N_here, 1, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n)
          for (int64_t m = diagonal ? n : 0; m < M_here; ++m) {
            scalar_t& to = out[(n0 + n) * M + m0 + m];
            to = static_cast<scalar_t>((o0 > 0 ? to : 0.) + inner_product(left[n], right[m], width));
          }
      });
    });
    o0 += width;
  } while (o0 < O);
  if (symmetric) mirror(x.shape.N, out);
}

template void gram(GramMethod, const Set<float>&, const Set<float>&, bool, float*);
template void gram(GramMethod, const Set<double>&, const Set<double>&, bool, double*);
template void gram(GramMethod, const Samples<float, Ids>&, const Samples<float, Ids>&, bool, float*);
template void gram(GramMethod, const Samples<double, Ids>&, const Samples<double, Ids>&, bool, double*);

}  // namespace infotorch::cpu
