// The sjlt form of project: tiles of the gradients of a group of rows, added to the group's buckets while they are in
// cache. A row is a sample's gradient under one of its seeds. Which numbers a bucket adds up, and in which order,
// follows from O, I, T and k, and from how numbers are stored.
#pragma once

#include <vector>

#include "../parallel.h"
#include "../project.h"
#include "draws.h"
#include "form.h"
#include "reduce.h"
#include "scatter.h"

namespace infotorch::cpu {

template <typename scalar_t>
class Sjlt {
 public:
  // out [N, seeds, k] = or += sketches, with b [N * seeds, T, O].
  Sjlt(const Sketch& sketch, const PairShape& s, int64_t seeds, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
       bool add, scalar_t* out)
      : sketch(sketch),
        s(s),
        seeds(seeds),
        a(by_row(a, s.N, a.n_stride, seeds)),
        b(by_row(b, N, b.n_stride, 1)),
        add(add),
        out(out),
        by_blas(!outer && is_wide_for_blas(s, b.storage)),
        layout(outer ? Layout::in_by_out : cheaper_layout(s, by_blas)),
        form(s, a, b, layout, by_blas, seeds) {}

  void operator()() const {
    const int64_t groups = ceil_div(N, lanes), group_size = splits * k * lanes;
    const int64_t chunk = std::max<int64_t>(1, kTable / area), chunks = ceil_div(tiling.count(), chunk);
    const Scratch<Entry> table(std::min(chunk, tiling.count()) * area);
    // One lane adds to its row of the result, if no other order of sums comes of that. Several have buckets, of the
    // thread's own if a task fills them at once.
    const bool in_place = lanes == 1 && (!add || sparse), at_once = !in_place && splits == 1 && chunks == 1;
    const int64_t fit = kBudget / (group_size * static_cast<int64_t>(sizeof(scalar_t)));
    const int64_t round = in_place || at_once ? groups : std::clamp<int64_t>(fit, 1, groups);
    const Scratch<scalar_t> sums(in_place || at_once ? 0 : round * group_size);
    for (int64_t g0 = 0; g0 < groups; g0 += round) {
      const int64_t here = std::min(round, groups - g0);
      for (int64_t first = 0; first < tiling.count(); first += chunk) {
        const int64_t last = std::min(tiling.count(), first + chunk);
        if (chunks > 1 || g0 == 0) draw(first, last, table.data);
        parallel_tasks(
            here * splits, grain(chunks), [&] { return Worker(*this, at_once ? k * lanes : 0); },
            [&](int64_t task, Worker& worker) {
              const int64_t n = (g0 + task / splits) * lanes;
              scalar_t* const to = in_place ? out + n * k : at_once ? worker.sums.data : sums.data + task * k * lanes;
              if (first == 0 && !(add && in_place)) std::fill(to, to + k * lanes, scalar_t(0));
              worker.begin(n, rows(n));
              for (int64_t p = first; p < last; ++p)
                if (p % splits == task % splits) worker.add(tiling[p], table.data + start(p) - start(first), to);
              if (at_once) write(to, n, 0, k);
            });
      }
      if (!in_place && !at_once) add_splits(g0, here, sums.data);
    }
  }

 private:
  static constexpr int64_t kArea = 112 * 128, kCols = 128;    // of a tile of G: lanes of them and buckets share a cache
  static constexpr int64_t kTiles = int64_t{1} << 19;         // bytes of a tile in all lanes
  static constexpr int64_t kProductRows = 512;                // of a tile of outer products
  static constexpr int64_t kTable = int64_t{1} << 21;         // entries held at once
  static constexpr int64_t kBudget = int64_t{24} << 20;       // bytes of buckets and tiles held at once
  static constexpr int64_t kPerBucket = 64;                   // numbers a bucket adds up before another split pays
  static constexpr int64_t kSplitBuckets = int64_t{1} << 15;  // in all splits
  static constexpr int64_t kSparse = 4;                       // share of empty buckets that lanes would only move
  static constexpr int64_t kDeep = 128;                       // positions from which on forming outweighs adding
  static constexpr int64_t kLine = 64;                        // buckets of all lanes that are turned at once
  static constexpr int64_t kPiece = 1024;                     // buckets summed over splits by one task
  static constexpr int64_t kWorkPerTask = 1 << 16;            // multiply-adds that outweigh waking a thread

  // One group of rows, side by side.
  class Worker {
   public:
    Worker(const Sjlt& plan, int64_t own_sums)
        : sums(own_sums),
          plan(plan),
          lanes(plan.lanes),
          panels(plan.tiling, plan.by_blas ? std::min(plan.s.T, kBlasTerms) : kFormDepth),
          numbers(lanes * (plan.outer ? kProductRows + kMostProducts : panel_stride(plan.area))) {}

    // Rows n ... n + count; lanes beyond hold zeros.
    void begin(int64_t first, int64_t rows) {
      n = first;
      count = rows;
      packed = -1;
      const int64_t size = plan.outer ? 0 : panel_stride(plan.area);
      std::fill(numbers.data + count * size, numbers.data + lanes * size, scalar_t(0));
    }

    void add(const Tile& tile, const Entry* entries, scalar_t* to) {
      if (plan.outer)
        add_outer(tile, entries, to);
      else
        add_formed(tile, entries, to);
    }

    const Scratch<scalar_t> sums;

   private:
    // With one position, numbers of G are products of two.
    void add_outer(const Tile& tile, const Entry* entries, scalar_t* to) {
      scalar_t* const right = numbers.data + lanes * kProductRows;
      if (packed != tile.r0) pack(plan.a, tile.r0, tile.rows, numbers.data);
      packed = tile.r0;
      pack(plan.b, tile.c0, tile.cols, right);
      add_products(lanes, numbers.data, tile.rows, right, tile.cols, entries, to);
    }

    // to[feature, lane]
    void pack(const Rows<scalar_t>& x, int64_t feature, int64_t features, scalar_t* to) const {
      if (count < lanes) std::fill(to, to + features * lanes, scalar_t(0));
      pack_positions(x, 0, n, count, feature, features, to, lanes);
    }

    void add_formed(const Tile& tile, const Entry* entries, scalar_t* to) const {
      const int64_t stride = panel_stride(plan.area);
      for (int64_t lane = 0, some; lane < count; lane += some) {  // of one sample
        some = std::min(count - lane, plan.seeds - (n + lane) % plan.seeds);
        plan.form(n + lane, some, tile, panels, numbers.data + lane * stride, stride, tile.cols);
      }
      add_numbers(lanes, numbers.data, stride, entries, tile.size(), to);
    }

    const Sjlt& plan;
    const int64_t lanes;
    const FormScratch<scalar_t> panels;
    const Scratch<scalar_t> numbers;
    int64_t n = 0, count = 0, packed = -1;
  };

  // With one position a row, those of all rows are positions of one sample: `times` of them read the same numbers.
  static Rows<scalar_t> by_row(const Rows<scalar_t>& x, int64_t count, int64_t stride, int64_t times) {
    Rows<scalar_t> rows = {x.data, x.storage, 0, {}, x.i, x.bias};
    rows.t.append(count, stride);
    rows.t.append(times, 0);
    return rows;
  }

  // Entries of all elements of the tiles from `first` up to `last`, in the order of their rows and columns.
  void draw(int64_t first, int64_t last, Entry* table) const {
    parallel_for(last - first, ceil_div(kWorkPerTask / 16, area), [&](int64_t begin, int64_t end) {
      std::vector<Entry> run(std::max(tiling.edge_rows, tiling.edge_cols));
      for (int64_t p = first + begin; p < first + end; ++p)
        draw(tiling[p], run.data(), table + start(p) - start(first));
    });
  }

  void draw(const Tile& tile, Entry* run, Entry* to) const {
    const bool by_out = layout == Layout::out_by_in;
    const int64_t o0 = by_out ? tile.r0 : tile.c0, outs = by_out ? tile.rows : tile.cols;
    const int64_t i0 = by_out ? tile.c0 : tile.r0, ins = by_out ? tile.cols : tile.rows;
    const int64_t o_step = by_out ? tile.cols : 1, i_step = by_out ? 1 : tile.cols;
    const int64_t in_features = s.I - a.bias, real = std::clamp<int64_t>(in_features - i0, 0, ins);
    for (int64_t o = 0; o < outs; ++o) {
      draw_entries(sketch.source, (o0 + o) * in_features + i0, 1, real, k, run);
      for (int64_t i = 0; i < real; ++i) to[o * o_step + i * i_step] = run[i];
    }
    if (real == ins) return;
    draw_entries(sketch.source, s.O * in_features + o0, 1, outs, k, run);
    for (int64_t o = 0; o < outs; ++o) to[o * o_step + real * i_step] = run[o];
  }

  // Elements in the tiles before tile p.
  int64_t start(int64_t p) const {
    if (p == tiling.count()) return tiling.rows * tiling.cols;
    const Tile tile = tiling[p];
    return tile.r0 * tiling.cols + tile.rows * tile.c0;
  }

  int64_t rows(int64_t n) const { return std::min(lanes, N - n); }  // of the group that begins with n

  // The buckets of all splits, from left to right, to their places in the result.
  void add_splits(int64_t g0, int64_t groups, scalar_t* sums) const {
    const int64_t pieces = ceil_div(k, kPiece), size = k * lanes;
    parallel_for(groups * pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t bucket = p % pieces * kPiece, buckets = std::min(kPiece, k - bucket), at = bucket * lanes;
        scalar_t* const group = sums + p / pieces * splits * size;
        for (int64_t split = 1; split < splits; ++split)
          add_scaled(group + split * size + at, 1, buckets * lanes, group + at);
        write(group, (g0 + p / pieces) * lanes, bucket, buckets);
      }
    });
  }

  void write(const scalar_t* sums, int64_t n, int64_t bucket, int64_t buckets) const {
    if (!add) return copy_block(sums + bucket * lanes, 1, lanes, rows(n), buckets, out + n * k + bucket, k);
    alignas(64) scalar_t line[kMostLanes<scalar_t> * kLine];
    for (int64_t end = bucket + buckets; bucket < end; bucket += kLine) {
      const int64_t here = std::min(kLine, end - bucket);
      copy_block(sums + bucket * lanes, 1, lanes, rows(n), here, line, kLine);
      for (int64_t lane = 0; lane < rows(n); ++lane)
        add_scaled(line + lane * kLine, 1, here, out + (n + lane) * k + bucket);
    }
  }

  // As many as are worth their memory and leave no thread idle; how many is not in the bits.
  int64_t most_lanes() const {
    const int64_t number = sizeof(scalar_t), threads = num_threads();
    int64_t most = kMostLanes<scalar_t>;
    const auto too_few = [&] { return ceil_div(N, most) * splits < std::min(threads, N); };
    const auto too_large = [&] { return threads * most * (k + area) * number > kBudget; };
    const auto too_wide = [&] {
      return most / 2 >= N || too_few() || too_large() || (!outer && most * area * number > kTiles);
    };
    while (most > kLeastLanes<scalar_t> && too_wide()) most /= 2;
    const bool alone = sparse || too_large() || (s.T >= kDeep && too_few());
    return splits == 1 && alone ? 1 : most;
  }

  int64_t grain(int64_t chunks) const {
    return kWorkPerTask / (lanes * (s.T + 1) * s.O * s.I / (splits * chunks) + 1) + 1;
  }

  const Sketch& sketch;
  const PairShape& s;
  const int64_t seeds, N = s.N * seeds;  // rows
  const Rows<scalar_t> a, b;             // where s.T is 1
  const bool add;
  scalar_t* const out;
  const int64_t k = sketch.k;
  const bool sparse = s.O * s.I < k / kSparse;
  const bool outer = s.T == 1;
  const bool by_blas;  // however rows lie, so that their sketches have the same bits
  const Layout layout;
  const Former<scalar_t> form;
  const Tiling tiling = outer ? Tiling{s.I, s.O, std::min(s.I, kProductRows), std::min(s.O, kMostProducts)}
                              : form.tiling(kArea, kCols, blas_area<scalar_t>(8));
  const int64_t area = tiling.edge_rows * tiling.edge_cols;
  const int64_t splits =
      std::clamp<int64_t>(std::min(s.O * s.I / (kPerBucket * k), kSplitBuckets / k), 1, tiling.count());
  const int64_t lanes = most_lanes();
};

}  // namespace infotorch::cpu
