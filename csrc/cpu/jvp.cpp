#include "../jvp.h"

#include <vector>

#include "../parallel.h"
#include "form.h"
#include "one_hot.h"
#include "strips.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kTotals = 1 << 18;                // numbers out[n, k] that are summed at once, in float64
constexpr int64_t kBudget = int64_t{16} << 20;      // bytes of packed directions held at once
constexpr int64_t kChunk = 8;                       // strips of columns of a direction that a task multiplies by
constexpr int64_t kRowBytes = 1 << 20;              // of one task's packed rows
constexpr int64_t kRowStrips = 4;                   // of them at most
constexpr int64_t kFormed = 1 << 17;                // numbers of G that one thread holds in its cache
constexpr int64_t kFewSamples = 4;                  // from which on the dot products weigh as much as forming
constexpr int64_t kSegment = 1024;                  // terms of a dot product: four rows of them stay in a 32 KiB cache
constexpr int64_t kSums = 1 << 20;                  // of blocks that BLAS applies directions to, beside samples' own
constexpr int64_t kLeastTerms = 32;                 // of products by BLAS
constexpr int64_t kLeastRows = 32, kMostRows = 64;  // of a block that BLAS applies directions to
constexpr int64_t kTurned = 1 << 20;                // numbers of directions that are turned before all tiles

// Samples n0 ... n0 + N, and their sums over k < K.
struct Range {
  int64_t n0, N, K;
};

// One factor of the pair takes the direction, the other one is then multiplied elementwise.
template <typename scalar_t>
struct Sides {
  Rows<scalar_t> taking, other;
  int64_t C, D;    // features of each
  int64_t at, by;  // element [c, d] of a direction is v[c * at + d * by]

  // The cheaper order: columns are rounded up to whole vectors, and the side that takes the direction is transposed.
  Sides(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b)
      : Sides(cost(s.I, s.O) < cost(s.O, s.I) ? Sides{a, b, s.I, s.O, 1, s.I} : Sides{b, a, s.O, s.I, s.I, 1}) {}

 private:
  Sides(const Rows<scalar_t>& taking, const Rows<scalar_t>& other, int64_t C, int64_t D, int64_t at, int64_t by)
      : taking(taking), other(other), C(C), D(D), at(at), by(by) {}
  static int64_t cost(int64_t C, int64_t D) { return C * (padded(D) + kPad); }
};

// Blocks of rows whose products with some chunks of the directions are dotted with rows of the other factor, in
// float64. A block has a sum for each sample that it touches; two blocks that share a sample don't meet, as block p has
// that of sample n at n + p.
class Blocks {
 public:
  Blocks(const Range& range, int64_t T, int64_t edge, int64_t chunks)
      : edge(edge),
        count(ceil_div(range.N * T, edge)),
        N_(range.N),
        K_(range.K),
        T_(T),
        chunks_(chunks),
        sums_(chunks * (N_ + count) * K_) {}

  double& sum(int64_t chunk, int64_t p, int64_t row, int64_t k) {
    return sums_[(chunk * (N_ + count) + (p * edge + row) / T_ + p) * K_ + k];
  }

  // total [N, K] += all sums, from left to right.
  void add_to(double* total) const {
    for (int64_t at = 0; at < chunks_ * (N_ + count); at += N_ + count)
      for (int64_t p = 0; p < count; ++p)
        for (int64_t n = p * edge / T_; n < N_ && n * T_ < (p + 1) * edge; ++n)
          for (int64_t k = 0; k < K_; ++k) total[n * K_ + k] += sums_[(at + n + p) * K_ + k];
  }

  const int64_t edge, count;

 private:
  const int64_t N_, K_, T_, chunks_;
  std::vector<double> sums_;
};

// In which directions are cut there.
int64_t chunks_of(const PairShape& s) { return ceil_div(s.I, even_piece(s.I, kBlasEdge, kPad)); }

// total[n, k] = sum over positions of <v[k]^T b_t, a_t>: BLAS has directions where they lie, and its products are
// dotted with rows of a while they are in a cache.
template <typename scalar_t>
void apply_by_blas(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v,
                   const Range& range, double* total) {
  const auto [n0, N, K] = range;
  const int64_t positions = N * s.T, chunk = even_piece(s.I, kBlasEdge, kPad), chunks = chunks_of(s);
  const Rows<scalar_t> taking = stacked(b, n0, N), other = stacked(a, n0, N);
  const int64_t rows_wanted = std::clamp(ceil_div(positions * chunks, kTasks), kLeastRows, kMostRows);
  Blocks blocks(range, s.T, std::max(rows_wanted, ceil_div(positions * chunks * K, kSums)), chunks);
  struct Worker {
    Scratch<scalar_t> tile, rows;
  };
  parallel_tasks(
      chunks * blocks.count, 1,
      [&] {
        return Worker{Scratch<scalar_t>(blocks.edge * chunk), Scratch<scalar_t>(blocks.edge * panel_stride(chunk))};
      },
      [&](int64_t task, Worker& worker) {  // a chunk of the directions meets all rows while it is in a cache
        const int64_t piece = task / blocks.count, p = task % blocks.count;
        const int64_t t0 = p * blocks.edge, rows = std::min(blocks.edge, positions - t0);
        const int64_t d = piece * chunk, cols = std::min(chunk, s.I - d);
        Stored y = stored(taking, 0, t0, 0, s.O);
        y.turned = true;
        Panel<scalar_t> factor = in_place(other, 0, t0, d, cols);
        if (!factor.data) {
          pack_features(other, 0, t0, rows, d, cols, worker.rows.data, panel_stride(cols));
          factor = {worker.rows.data, panel_stride(cols)};
        }
        for (int64_t k = 0; k < K; ++k) {
          blas_product({v + k * s.O * s.I + d, s.I}, cols, y, rows, s.O, false, worker.tile.data, cols);
          for (int64_t r = 0; r < rows; ++r)
            blocks.sum(piece, p, r, k) += dot(worker.tile.data + r * cols, factor.at(r, 0).data, cols);
        }
      });
  blocks.add_to(total);
}

// total[n, k] = sum of rows' products: rows of one factor times a direction, dotted with rows of the other on the tile.
template <typename scalar_t>
void apply(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v, const Range& range,
           double* total) {
  constexpr int64_t width = kStrip<scalar_t>, size = sizeof(scalar_t);
  const Sides<scalar_t> sides(s, a, b);
  const auto [n0, N, K] = range;
  const int64_t C = sides.C, D = sides.D, positions = N * s.T;
  const Rows<scalar_t> taking = stacked(sides.taking, n0, N), other = stacked(sides.other, n0, N);

  const int64_t most = std::clamp<int64_t>(kRowBytes / (C * width * size), 1, kRowStrips);
  const int64_t edge = std::clamp<int64_t>(positions / (kTasks * width), 1, most) * width;
  Blocks blocks(range, s.T, edge, 1);
  const int64_t chunk = std::clamp<int64_t>(kBudget / (C * width * size), 1, kChunk) * width;
  const int64_t pieces = ceil_div(D, chunk) * K;  // piece q: direction q % K, columns from q / K * chunk on
  const int64_t held = std::clamp<int64_t>(kBudget / (C * chunk * size), 1, pieces);
  const Scratch<scalar_t> directions(held * C * chunk);

  struct Worker {
    Scratch<scalar_t> strips, tile, rows;
  };
  for (int64_t q0 = 0; q0 < pieces; q0 += held) {
    const int64_t q1 = std::min(pieces, q0 + held);
    parallel_for(q1 - q0, 1, [&](int64_t begin, int64_t end) {
      for (int64_t q = q0 + begin; q < q0 + end; ++q)
        for (int64_t d = q / K * chunk, last = std::min(D, d + chunk), j = 0; d < last; d += width, ++j) {
          scalar_t* to = directions.data + ((q - q0) * chunk + j * width) * C;
          const int64_t cols = std::min(width, last - d);
          copy_block(v + q % K * C * D + d * sides.by, sides.at, sides.by, C, cols, to, width);
          fill_beyond(cols, C, to);
        }
    });
    parallel_tasks(
        blocks.count, 1,
        [&] {
          return Worker{Scratch<scalar_t>(edge * C), Scratch<scalar_t>(edge * chunk),
                        Scratch<scalar_t>(edge * panel_stride(chunk))};
        },
        [&](int64_t p, Worker& worker) {
          const int64_t t0 = p * edge, rows = std::min(edge, positions - t0);
          pack_strips(taking, 0, t0, rows, 0, C, worker.strips.data);
          Panel<scalar_t> factor = {};
          for (int64_t q = q0; q < q1; ++q) {
            const int64_t d = q / K * chunk, cols = std::min(chunk, D - d), k = q % K;
            if (q == q0 || k == 0) factor = features(other, 0, t0, rows, d, cols, 1, worker.rows.data);
            product<scalar_t>({directions.data + (q - q0) * chunk * C, C}, cols, {worker.strips.data, C}, rows, false,
                              false, worker.tile.data, chunk);
            for (int64_t r = 0; r < rows; ++r)
              blocks.sum(0, p, r, k) += dot(worker.tile.data + r * chunk, factor.at(r, 0).data, cols);
          }
        });
  }
  blocks.add_to(total);
}

// total[n, k] = sum of tiles of G[n] dotted with those of v[k].
template <typename scalar_t>
void materialize(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v,
                 const Range& range, double* total) {
  const auto [n0, N, K] = range;
  const bool by_blas = is_formed_by_blas(s, a, b);
  const Layout layout = cheaper_layout(s, by_blas);
  const bool by_out = layout == Layout::out_by_in;
  const Former<scalar_t> form(s, a, b, layout, by_blas);
  const Tiling tiling = form.tiling(N < kFewSamples ? form_area(s, sizeof(scalar_t)) : kSharedArea, kFormCols,
                                    blas_area<scalar_t>(1 + K));
  const int64_t size = tiling.edge_rows * tiling.edge_cols, tiles = tiling.count();
  const int64_t group = std::clamp<int64_t>(kFormed / size, 1, ceil_div(N * tiles, kTasks)),
                groups = ceil_div(N, group);
  const int64_t splits = std::clamp<int64_t>(ceil_div(kTasks, groups), 1, tiles);
  std::vector<double> partial(splits * N * K);

  // Directions as G's tiles lie: v itself, or turned, if there is room for all of them.
  const int64_t area = s.O * s.I;
  const bool turns = !by_out && K * area <= kTurned;
  const Scratch<scalar_t> turned(turns ? K * area : 0);
  for (int64_t k = 0; k < K && turns; ++k) copy_block(v + k * area, 1, s.I, s.I, s.O, turned.data + k * area, s.O);

  // Those of `some` directions from k on in `tile`, in place where whole rows are.
  const auto directions_of = [&](const Tile& tile, int64_t k, int64_t some, scalar_t* to) -> Panel<scalar_t> {
    const int64_t down = by_out || turns ? form.cols : 1, right = by_out || turns ? 1 : s.I;
    const scalar_t* const from = (turns ? turned.data : v) + k * area + tile.r0 * down + tile.c0 * right;
    if (right == 1 && tile.cols == form.cols) return {from, area};
    for (int64_t j = 0; j < some; ++j)
      copy_block(from + j * area, down, right, tile.rows, tile.cols, to + j * size, tile.cols);
    return {to, size};
  };
  struct Worker {
    FormScratch<scalar_t> panels;
    Scratch<scalar_t> formed, directions;
  };
  parallel_tasks(
      groups * splits, 1,
      [&] {
        return Worker{FormScratch<scalar_t>(tiling), Scratch<scalar_t>(group * size), Scratch<scalar_t>(4 * size)};
      },
      [&](int64_t task, Worker& worker) {
        const int64_t first = task % groups * group, count = std::min(group, N - first), split = task / groups;
        double* const sum = partial.data() + (split * N + first) * K;
        for (int64_t p = split * tiles / splits; p < (split + 1) * tiles / splits; ++p) {
          const Tile tile = tiling[p];
          for (int64_t n = 0; n < count; ++n)
            form(n0 + first + n, tile, worker.panels, worker.formed.data + n * size, tile.cols);
          for (int64_t k = 0; k < K; k += 4) {
            const int64_t some = std::min<int64_t>(4, K - k);
            const Panel<scalar_t> rows = directions_of(tile, k, some, worker.directions.data);
            for (int64_t from = 0; from < tile.size(); from += kSegment)
              for (int64_t n = 0; n < count; ++n)
                add_dots(worker.formed.data + n * size + from, rows.data + from, rows.stride, some,
                         std::min(kSegment, tile.size() - from), sum + n * K + k);
          }
        }
      });
  for (int64_t split = 0; split < splits; ++split)
    for (int64_t at = 0; at < N * K; ++at) total[at] += partial[split * N * K + at];
}

}  // namespace

template <typename scalar_t>
bool is_applied_by_blas(const PairShape& s, const Rows<scalar_t>& b) {
  const bool wide = s.O >= kLeastTerms && s.I * s.O >= kBlasLeast && s.I <= INT32_MAX;
  return wide && b.storage == Storage::same && has_fast_blas(Storage::same) &&
         stored(stacked(b, 0, s.N), 0, 0, 0, s.O).data;
}

template <typename scalar_t>
void jvp(JvpMethod method, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, const scalar_t* v,
         int64_t K, scalar_t* out) {
  if (K == 0) return;
  const bool empty = s.T == 0 || s.I == 0 || s.O == 0;
  const bool by_blas = is_applied_by_blas(s, b);
  const int64_t step = std::max<int64_t>(1, kTotals / (K * (by_blas ? chunks_of(s) : 1)));
  for (int64_t n = 0; n < s.N; n += step) {
    const Range range = {n, std::min(step, s.N - n), K};
    std::vector<double> total(range.N * K);
    const auto apply_rows = by_blas ? apply_by_blas<scalar_t> : apply<scalar_t>;
    const auto sum = method == JvpMethod::apply ? apply_rows : materialize<scalar_t>;
    if (!empty) sum(s, a, b, v, range, total.data());
    std::copy(total.begin(), total.end(), out + n * K);
  }
}

template <typename scalar_t>
void jvp(JvpMethod, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, const scalar_t* v, int64_t K,
         scalar_t* out, bool turned) {
  parallel_for(s.N, ceil_div(1 << 14, s.T * s.O * K + 1), [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> picked(s.O);
    std::vector<double> total(K);
    for (int64_t n = begin; n < end; ++n) {
      const Lookups lookups(s, a, n, 1);
      const RowSum<scalar_t> sum(b, n, 1, s.O);
      std::fill(total.begin(), total.end(), 0.);
      for (int64_t c = 0; c < lookups.count(); ++c) {
        const scalar_t* column = sum(lookups.begin(c), lookups.end(c), 0, s.O);
        for (int64_t k = 0; k < K; ++k) {
          const int64_t at = lookups.column[c];
          const scalar_t* direction = v + k * s.O * s.I + at * s.O;
          if (!turned) {
            copy_block(v + k * s.O * s.I + at, s.I, 1, s.O, 1, picked.data, 1);
            direction = picked.data;
          }
          total[k] += dot(direction, column, s.O);
        }
      }
      std::copy(total.begin(), total.end(), out + n * K);
    }
  });
}

template <typename scalar_t>
void row_dots(const scalar_t* z, const Rows<scalar_t>& x, int64_t t0, int64_t rows, double* out) {
  const int64_t cols = x.i.total() + x.bias;
  parallel_for(rows, ceil_div(1 << 14, cols + 1), [&](int64_t begin, int64_t end) {
    const Scratch<scalar_t> scratch(panel_stride(cols));
    for (int64_t r = begin; r < end; ++r)
      out[r] = dot(z + r * cols, features(x, 0, t0 + r, 1, 0, cols, 1, scratch.data).data, cols);
  });
}

template bool is_applied_by_blas(const PairShape&, const Rows<float>&);
template bool is_applied_by_blas(const PairShape&, const Rows<double>&);
template void row_dots(const float*, const Rows<float>&, int64_t, int64_t, double*);
template void row_dots(const double*, const Rows<double>&, int64_t, int64_t, double*);
template void jvp(JvpMethod, const PairShape&, const Rows<float>&, const Rows<float>&, const float*, int64_t, float*);
template void jvp(JvpMethod, const PairShape&, const Rows<double>&, const Rows<double>&, const double*, int64_t,
                  double*);
template void jvp(JvpMethod, const PairShape&, const Ids&, const Rows<float>&, const float*, int64_t, float*, bool);
template void jvp(JvpMethod, const PairShape&, const Ids&, const Rows<double>&, const double*, int64_t, double*, bool);

}  // namespace infotorch::cpu
