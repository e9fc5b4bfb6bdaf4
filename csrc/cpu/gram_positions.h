// The gram form of gram: positions by positions, and their sums over each pair of samples.
#pragma once

#include <vector>

#include "../gram.h"
#include "../parallel.h"
#include "positions.h"

namespace infotorch::cpu {

// Some samples whose positions fill whole strips, but for little: what one task compares with another such group.
struct Groups {
  Groups(int64_t N, int64_t T, int64_t width) : N(N), T(T), edge(best_edge(N, T, width)), count(ceil_div(N, edge)) {}

  int64_t samples(int64_t group) const { return std::min(edge, N - group * edge); }
  int64_t positions(int64_t group) const { return samples(group) * T; }

  const int64_t N, T, edge, count;

 private:
  // The fewest samples of whose strips no more than a sixteenth is empty; single positions fill one tile at most.
  static int64_t best_edge(int64_t N, int64_t T, int64_t width) {
    if (T == 1) return width * std::clamp<int64_t>(N / (4 * width), 1, kTileStrips);
    const int64_t most = std::clamp<int64_t>(16 * width / T, 1, N);
    const auto filled = [&](int64_t n) { return static_cast<double>(n * T) / (ceil_div(n * T, width) * width); };
    int64_t best = 1;
    for (int64_t n = 2; n <= most && filled(best) < 15. / 16; ++n)
      if (filled(n) > filled(best)) best = n;
    return best;
  }
};

// All positions of some samples, packed group by group.
template <typename scalar_t>
class Positions {
 public:
  Positions(const Samples<scalar_t, Rows<scalar_t>>& set, int64_t n0, int64_t N)
      : groups(N, set.shape.T, kStrip<scalar_t>),
        I(set.shape.I),
        O(set.shape.O),
        each(strips<scalar_t>(groups.positions(0))),
        storage(groups.count * each * kStrip<scalar_t> * (I + O)) {
    constexpr int64_t width = kStrip<scalar_t>;
    const Rows<scalar_t> a_rows = stacked(set.a, n0, N), b_rows = stacked(set.b, n0, N);
    parallel_for(2 * groups.count * each, ceil_div(1 << 9, I + O), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t strip = p / 2 % each, group = p / 2 / each, c = strip * width;
        const int64_t cols = std::min(width, groups.positions(group) - c), t = group * groups.edge * groups.T + c;
        if (cols <= 0) continue;
        if (p % 2 == 0)
          pack_strips(a_rows, 0, t, cols, 0, I, at(group, strip * I));
        else
          pack_strips(b_rows, 0, t, cols, 0, O, at(group, each * I + strip * O));
      }
    });
  }

  Strips<scalar_t> a(int64_t group) const { return {at(group, 0), I}; }
  Strips<scalar_t> b(int64_t group) const { return {at(group, each * I), O}; }

  const Groups groups;

 private:
  scalar_t* at(int64_t group, int64_t row) const {
    return storage.data + (group * each * (I + O) + row) * kStrip<scalar_t>;
  }

  const int64_t I, O, each;
  const Scratch<scalar_t> storage;
};

// Groups with one position a sample: out[n, m] = aa bb, and its mirror image if out is symmetric.
template <typename scalar_t>
void write_products(const PositionTile<scalar_t>& tile, int64_t n0, int64_t N, int64_t m0, int64_t M, bool symmetric,
                    scalar_t* out, int64_t out_stride) {
  constexpr int64_t edge = PositionTile<scalar_t>::kEdge;
  const bool diagonal = symmetric && n0 == m0;
  for (int64_t n = 0; n < N; ++n) {
    const int64_t m = diagonal ? n : 0, at = n * edge + m;
    multiply(tile.aa + at, tile.bb + at, M - m, tile.aa + at);
    std::copy(tile.aa + at, tile.aa + n * edge + M, out + (n0 + n) * out_stride + m0 + m);
  }
  if (!symmetric) return;
  for (int64_t m = 0; m < M; m += kPad) {  // in squares, of which those on the diagonal are half there
    const int64_t cols = std::min(kPad, M - m), rows = diagonal ? m : N;
    copy_block(tile.aa + m, 1, edge, cols, rows, out + (m0 + m) * out_stride + n0, out_stride);
    for (int64_t n = rows; diagonal && n < m + cols; ++n)
      for (int64_t c = n + 1; c < m + cols; ++c) out[(m0 + c) * out_stride + n0 + n] = tile.aa[n * edge + c];
  }
}

// out [N, M], `out_stride` apart; `symmetric` states that y is x, and writes both triangles.
template <typename scalar_t>
void gram_positions(const Positions<scalar_t>& x, const Positions<scalar_t>& y, bool symmetric, scalar_t* out,
                    int64_t out_stride) {
  constexpr int64_t edge = PositionTile<scalar_t>::kEdge, tasks_wanted = 16;
  const int64_t T = x.groups.T, S = y.groups.T, area = x.groups.edge * y.groups.edge;
  struct Pair {
    int64_t x, y;
  };
  std::vector<Pair> pairs;
  for (int64_t g = 0; g < x.groups.count; ++g)
    for (int64_t h = symmetric ? g : 0; h < y.groups.count; ++h) pairs.push_back({g, h});
  const int64_t count = pairs.size(), across = ceil_div(y.groups.positions(0), edge);
  const int64_t tiles = ceil_div(x.groups.positions(0), edge) * across;
  const int64_t parts = count < tasks_wanted ? std::min(tiles, ceil_div(tasks_wanted, count)) : 1;
  std::vector<double> partial(parts > 1 ? count * parts * area : 0);  // of each pair, if several tasks share it

  const auto write = [&](const Pair& pair, const double* total) {
    const int64_t n0 = pair.x * x.groups.edge, m0 = pair.y * y.groups.edge;
    const bool diagonal = symmetric && pair.x == pair.y;
    for (int64_t n = 0; n < x.groups.samples(pair.x); ++n)
      for (int64_t m = diagonal ? n : 0; m < y.groups.samples(pair.y); ++m) {
        const auto value = static_cast<scalar_t>(total[n * y.groups.edge + m]);
        out[(n0 + n) * out_stride + m0 + m] = value;
        if (symmetric) out[(m0 + m) * out_stride + n0 + n] = value;
      }
  };

  struct Worker {
    PositionTile<scalar_t> tile;
    std::vector<double> total;
  };
  parallel_tasks(
      count * parts, 1, [&] { return Worker{{}, std::vector<double>(area)}; },
      [&](int64_t task, Worker& worker) {
        const Pair pair = pairs[task / parts];
        const int64_t part = task % parts, rows = x.groups.positions(pair.x), cols = y.groups.positions(pair.y);
        const bool same = symmetric && pair.x == pair.y;
        std::fill(worker.total.begin(), worker.total.end(), 0.);
        for (int64_t p = part * tiles / parts; p < (part + 1) * tiles / parts; ++p) {
          const int64_t r = p / across * edge, c = p % across * edge;
          if (r >= rows || c >= cols || (same && c < r)) continue;
          const int64_t rows_here = std::min(edge, rows - r), cols_here = std::min(edge, cols - c);
          const int64_t r_strip = r / kStrip<scalar_t>, c_strip = c / kStrip<scalar_t>;
          const bool corner = same && r == c;
          worker.tile.form(x.a(pair.x).from(r_strip), y.a(pair.y).from(c_strip), x.b(pair.x).from(r_strip),
                           y.b(pair.y).from(c_strip), rows_here, cols_here, corner);
          if (T == 1 && S == 1)
            write_products(worker.tile, pair.x * x.groups.edge, rows_here, pair.y * y.groups.edge, cols_here, symmetric,
                           out, out_stride);
          else
            worker.tile.add_to({r, rows_here, T}, {c, cols_here, S}, same, worker.total.data(), y.groups.edge);
        }
        if (T == 1 && S == 1) return;
        if (parts == 1)
          write(pair, worker.total.data());
        else
          std::copy(worker.total.begin(), worker.total.end(), partial.begin() + task * area);
      });
  for (int64_t p = 0; p < count && parts > 1; ++p) {
    double* total = partial.data() + p * parts * area;
    for (int64_t k = 1; k < parts; ++k)
      for (int64_t e = 0; e < area; ++e) total[e] += total[k * area + e];
    write(pairs[p], total);
  }
}

// Whether all positions of both sets fit one tile, and their features are worth being shared out.
template <typename scalar_t>
bool has_one_tile(const PairShape& x, const PairShape& y) {
  constexpr int64_t least_features = 512;
  return std::max(x.N * x.T, y.N * y.T) <= PositionTile<scalar_t>::kEdge && x.I + x.O >= least_features;
}

// The same of two sets that have one tile: tasks share out the features, of rows where they lie.
template <typename scalar_t>
void gram_of_one_tile(const Samples<scalar_t, Rows<scalar_t>>& x, const Samples<scalar_t, Rows<scalar_t>>& y,
                      bool symmetric, scalar_t* out) {
  using Tile = PositionTile<scalar_t>;
  static constexpr int64_t edge = Tile::kEdge, least = 256;  // features of a task
  const int64_t N = x.shape.N, M = y.shape.N, rows = N * x.shape.T, cols = M * y.shape.T, size = rows * edge;
  struct Side {
    Side(const Rows<scalar_t>& x, const Rows<scalar_t>& y, int64_t N, int64_t M)
        : x(stacked(x, 0, N)),
          y(stacked(y, 0, M)),
          width(x.i.total()),
          share(std::max(least, ceil_div(ceil_div(width, kTasks / 2), kPad) * kPad)),
          parts(std::max<int64_t>(1, ceil_div(width, share))) {}
    const Rows<scalar_t> x, y;
    const int64_t width, share, parts;
  };
  const Side a(x.a, y.a, N, M), b(x.b, y.b, N, M);
  const Scratch<scalar_t> products((a.parts + b.parts) * size);
  parallel_tasks(
      a.parts + b.parts, (1 << 16) / (rows * cols * least) + 1, [] { return Scratch<scalar_t>(Tile::kScratch); },
      [&](int64_t task, Scratch<scalar_t>& scratch) {
        const Side& side = task < a.parts ? a : b;
        const int64_t first = (task < a.parts ? task : task - a.parts) * side.share;
        form_features<scalar_t>(side.x, 0, {0, rows, rows}, side.y, 0, {0, cols, cols}, first,
                                std::min(side.width, first + side.share), symmetric, false, scratch.data,
                                products.data + task * size);
      });
  const Tile tile;
  const auto add = [&](const scalar_t* from, int64_t parts, scalar_t* to) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t c = symmetric ? r : 0, at = r * edge + c;
      std::copy(from + at, from + r * edge + cols, to + at);
      for (int64_t p = 1; p < parts; ++p) add_scaled(from + p * size + at, 1, cols - c, to + at);
    }
  };
  add(products.data, a.parts, tile.aa);
  add(products.data + a.parts * size, b.parts, tile.bb);
  if (x.shape.T == 1 && y.shape.T == 1) return write_products(tile, 0, N, 0, M, symmetric, out, M);
  std::vector<double> total(N * M);
  tile.add_to({0, rows, x.shape.T}, {0, cols, y.shape.T}, symmetric, total.data(), M);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t m = 0; m < M; ++m)
      out[n * M + m] = static_cast<scalar_t>(symmetric && m < n ? total[m * M + n] : total[n * M + m]);
}

}  // namespace infotorch::cpu
