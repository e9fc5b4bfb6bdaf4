// The sjlt form of project: numbers of gradients, added to buckets in shared memory.
//
// Every block has some of the samples' buckets and reads a batch of kBatch numbers at a time, one to a thread. Threads
// whose buckets meet take turns, and which turn a slot of G takes follows from the seed, so it is drawn once, with its
// bucket, for all samples. Nothing is sorted and no bucket is added to by two threads at once; numbers are formed by
// tile products into scratch that stays in the L2 cache, in the order in which threads hold them, and are read in that
// order: each costs a write, a read and the read of its slot, all of them whole lines.
//
// Which numbers a bucket adds up, and in which order, follows from T, I, O, k and the dtype alone: slots go tile by
// tile, tile p to split p % splits.
#pragma once

#include "../project.h"
#include "full_product.h"
#include "scratch.h"

namespace infotorch::cuda {

constexpr int kBatch = 128;                                // threads of all blocks here
constexpr int kSumBytes = 32 << 10;                        // of a block's buckets: three blocks share the smallest SM
constexpr int64_t kPerBucket = 4;                          // numbers a bucket adds up before another split pays
constexpr int64_t kSplitBuckets = kMiB, kMostSplits = 32;  // in all splits, and these
constexpr int64_t kSlots = kMiB;                           // of G in a chunk
constexpr int64_t kFormedBytes = 32 * kMiB;                // of a chunk's numbers, of several samples
constexpr int64_t kSplitBytes = 16 * kMiB;                 // of buckets of several samples

using Turn = uint8_t;
constexpr Turn kNever = 255;

// How the k buckets of a sample are shared among blocks: block (split, range) adds the split's numbers to `width`
// buckets. Where these are few, threads t, t + copies ... have buckets of their own, and seldom meet.
struct Share {
  int64_t k, width, ranges, splits;
  int copies;

  INFOTORCH_HOST_DEVICE int64_t blocks() const { return ranges * splits; }
};

template <typename scalar_t>
Share share_of(int64_t k, int64_t numbers, int64_t parts) {
  const int64_t most = kSumBytes / sizeof(scalar_t), width = std::min(k, most);
  int copies = 1;
  while (copies < kBatch && 2 * copies * width <= most) copies *= 2;
  const int64_t splits = std::min({numbers / (kPerBucket * k), kSplitBuckets / k, kMostSplits, parts});
  return {k, width, ceil_div(k, width), std::max<int64_t>(1, splits), copies};
}

template <typename scalar_t>
constexpr int sum_bytes(const Share& share) {
  return static_cast<int>(share.copies * share.width * sizeof(scalar_t));
}

// The place of a block: its sample, counted from the first of the launch, its buckets and its split.
struct Place {
  int64_t n, begin, end, split;

  __device__ Place(const Share& share) {
    const int64_t block = blockIdx.x, range = block / share.splits % share.ranges;
    n = block / share.blocks();
    split = block % share.splits;
    begin = range * share.width;
    end = min(share.k, begin + share.width);
  }
};

// When a thread may add to its bucket, and when the last thread of its block does.
struct Turns {
  int mine, last;
};

constexpr int kTurnCells = kBatch + kBatch / kWarp;

// A thread's turn is the number of earlier ones with the same bucket and copy. cells: kTurnCells of shared memory,
// which may be used again after one more barrier.
__device__ inline Turns turns_of(Entry entry, bool present, int copies, uint32_t* cells) {
  const int thread = threadIdx.x;
  const uint32_t bucket = entry & ~kMinus;
  cells[thread] = present ? bucket : kMinus;  // which is no bucket
  __syncthreads();
  int mine = 0;
  for (int other = thread % copies; other < thread; other += copies) mine += cells[other] == bucket;
  int last = present ? mine : 0;
#pragma unroll
  for (int bit = kWarp / 2; bit > 0; bit /= 2) last = max(last, __shfl_xor_sync(~0u, last, bit));
  if (thread % kWarp == 0) cells[kBatch + thread / kWarp] = last;
  __syncthreads();
  for (int warp = 0; warp < kBatch / kWarp; ++warp) last = max(last, static_cast<int>(cells[kBatch + warp]));
  return {present ? mine : kNever, last};
}

// A block's buckets, at the beginning of shared memory.
template <typename scalar_t>
class Buckets {
 public:
  __device__ Buckets(const Share& share, const Place& place)
      : share_(share), place_(place), sums_(dynamic_shared<scalar_t>()) {
    for (int64_t q = threadIdx.x; q < share.copies * share.width; q += kBatch) sums_[q] = 0;
    __syncthreads();
  }

  // Every thread must call it.
  __device__ __forceinline__ void add(Entry entry, scalar_t x, const Turns& turns) {
    const int64_t bucket = entry & ~kMinus;
    const bool here = place_.begin <= bucket && bucket < place_.end;
    scalar_t* const to = sums_ + threadIdx.x % share_.copies * share_.width + bucket - place_.begin;
    for (int turn = 0; turn <= turns.last; ++turn) {
      if (here && turn == turns.mine) *to += entry & kMinus ? -x : x;
      __syncthreads();
    }
  }

  // to[bucket] = or += the copies, from left to right.
  __device__ void write(bool fresh, scalar_t* to) const {
    for (int64_t bucket = place_.begin + threadIdx.x; bucket < place_.end; bucket += kBatch) {
      scalar_t sum = fresh ? 0 : to[bucket];
      for (int copy = 0; copy < share_.copies; ++copy) sum += sums_[copy * share_.width + bucket - place_.begin];
      to[bucket] = sum;
    }
  }

 private:
  const Share& share_;
  const Place& place_;
  scalar_t* const sums_;
};

// out[n, bucket] = sum of its splits, from left to right.
template <typename scalar_t>
__global__ void __launch_bounds__(kBatch)
    add_splits_kernel(int64_t count, int64_t k, int64_t splits, const scalar_t* from, scalar_t* out) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kBatch + threadIdx.x;
  if (at >= count * k) return;
  scalar_t sum = 0;
  for (int64_t split = 0; split < splits; ++split) sum += from[(at / k * splits + split) * k + at % k];
  out[at] = sum;
}

template <typename scalar_t>
const char* add_splits(int64_t count, int64_t k, int64_t splits, const scalar_t* from, scalar_t* out, void* stream) {
  return launch(&add_splits_kernel<scalar_t>, ceil_div(count * k, kBatch), kBatch, 0, stream, count, k, splits, from,
                out);
}

// What is known of the slots of a chunk of G, which are counted tile by tile, in a tile by the index of a product's
// sums and then by the thread that holds them.
struct Slots {
  Entry* entries;
  Turn* turns;  // kNever outside of G
  Turn* last;   // of every batch
};

// Block (tile, index) draws one batch of a chunk.
template <typename P>
__global__ void __launch_bounds__(kBatch) draw_kernel(Sketch sketch, int64_t O, int64_t I, int64_t in_features,
                                                      Tiling tiles, int64_t first, int copies, Slots slots) {
  const Tiling::Place tile = tiles[first + blockIdx.x / P::kCount];
  const int index = blockIdx.x % P::kCount;
  const int64_t o = tile.row * P::kEdge + P::row(index), i = tile.col * P::kEdge + P::col(index);
  const bool inside = o < O && i < I;
  const int64_t j = i < in_features ? o * in_features + i : O * in_features + o;
  const Entry drawn = entry(sketch.source, j, sketch.k);
  const Turns turns = turns_of(drawn, inside, copies, dynamic_shared<uint32_t>());
  const int64_t slot = static_cast<int64_t>(blockIdx.x) * kBatch + threadIdx.x;
  slots.entries[slot] = drawn;
  slots.turns[slot] = static_cast<Turn>(turns.mine);
  if (threadIdx.x == 0) slots.last[blockIdx.x] = static_cast<Turn>(turns.last);
}

// Block (n, tile) forms its tile of G[n0 + n], `count` tiles of each sample, into formed[n, slot].
template <typename P, typename stored_t>
__global__ void __launch_bounds__(P::kThreads, 2)
    form_slots_kernel(int64_t T, int64_t n0, Tiling tiles, int64_t first, int64_t count,
                      const __grid_constant__ View<stored_t> a, const __grid_constant__ View<stored_t> b,
                      typename P::scalar_t* formed) {
  static_assert(P::kThreads == kBatch, "a batch is one number of every thread");
  const int64_t n = n0 + blockIdx.x / count;
  const Tiling::Place tile = tiles[first + blockIdx.x % count];
  typename P::Accumulator g = {};
  P::add({b, tile.row * P::kEdge, b.features}, {a, tile.col * P::kEdge, a.features}, n * T, (n + 1) * T, g);
  formed += static_cast<int64_t>(blockIdx.x) * P::kCount * kBatch + threadIdx.x;
#pragma unroll
  for (int k = 0; k < P::kCount; ++k) formed[k * kBatch] = g.value[k];
}

// Block (n, range, split) adds the numbers of its split among `count` tiles to its buckets of to[n, split].
template <typename scalar_t>
__global__ void __launch_bounds__(kBatch) scatter_kernel(Share share, int64_t first, int64_t count, int batches,
                                                         Slots slots, const scalar_t* formed, scalar_t* to) {
  const Place place(share);
  Buckets<scalar_t> buckets(share, place);
  formed += place.n * count * batches * kBatch;
  const int64_t skip = (place.split + share.splits - first % share.splits) % share.splits;  // tiles before its first
  const int64_t all = skip < count ? ceil_div(count - skip, share.splits) * batches : 0;
  struct Number {
    Entry entry;
    scalar_t x;
    Turns turns;
  };
  const auto load = [&](int64_t index) -> Number {
    const int64_t batch = (skip + index / batches * share.splits) * batches + index % batches;
    const int64_t slot = batch * kBatch + threadIdx.x;
    return {slots.entries[slot], formed[slot], {slots.turns[slot], slots.last[batch]}};
  };
  Number next = {};
  if (all > 0) next = load(0);
  for (int64_t index = 0; index < all; ++index) {
    const Number now = next;
    if (index + 1 < all) next = load(index + 1);  // on its way while this one is added
    buckets.add(now.entry, now.x, now.turns);
  }
  buckets.write(first == 0, to + (place.n * share.splits + place.split) * share.k);
}

template <typename scalar_t>
struct Sjlt {
  Sketch sketch;
  PairShape s;
  Tiling tiles;
  int64_t area, chunk, group, round;  // slots of a tile, tiles of a chunk, samples formed at once, samples with splits
  Share share;
  Slots slots;
  scalar_t *formed, *splits;

  Sjlt(const Sketch& sketch, const PairShape& s, Scratch& scratch)
      : sketch(sketch), s(s), tiles(tiling(s.O, s.I, full_edge(std::min(s.O, s.I)))), area(tiles.edge * tiles.edge) {
    const int64_t bytes = sizeof(scalar_t);
    chunk = std::min(tiles.count(), kSlots / area);
    group = std::clamp<int64_t>(kFormedBytes / (chunk * area * bytes), 1, s.N);
    share = share_of<scalar_t>(sketch.k, s.O * s.I, tiles.count());
    round = share.splits == 1 ? s.N : std::clamp<int64_t>(kSplitBytes / (share.splits * share.k * bytes), 1, s.N);
    slots = {scratch.take<Entry>(chunk * area), scratch.take<Turn>(chunk * area),
             scratch.take<Turn>(chunk * area / kBatch)};
    formed = scratch.take<scalar_t>(group * chunk * area);
    splits = scratch.take<scalar_t>(share.splits == 1 ? 0 : round * share.splits * share.k);
  }

  template <typename stored_t>
  const char* operator()(const View<stored_t>& a, const View<stored_t>& b, scalar_t* out, void* stream) const {
    return with_full_product<stored_t, Along::positions>(std::min(s.O, s.I), [&](auto product) -> const char* {
      using P = decltype(product);
      for (int64_t n0 = 0; n0 < s.N; n0 += round) {
        const int64_t samples = std::min(round, s.N - n0);
        scalar_t* const to = share.splits == 1 ? out + n0 * share.k : splits;
        for (int64_t first = 0; first < tiles.count(); first += chunk) {
          const int64_t here = std::min(chunk, tiles.count() - first);
          if (n0 == 0 || chunk < tiles.count())
            if (const char* error = launch(&draw_kernel<P>, here * P::kCount, kBatch, kTurnCells * sizeof(uint32_t),
                                           stream, sketch, s.O, s.I, s.I - a.bias, tiles, first, share.copies, slots))
              return error;
          for (int64_t n = 0; n < samples; n += group) {
            const int64_t some = std::min(group, samples - n);
            if (const char* error = launch(&form_slots_kernel<P, stored_t>, some * here, P::kThreads, P::kSharedBytes,
                                           stream, s.T, n0 + n, tiles, first, here, a, b, formed))
              return error;
            if (const char* error =
                    launch(&scatter_kernel<scalar_t>, some * share.blocks(), kBatch, sum_bytes<scalar_t>(share), stream,
                           share, first, here, static_cast<int>(P::kCount), slots, static_cast<const scalar_t*>(formed),
                           to + n * share.splits * share.k))
              return error;
          }
        }
        if (share.splits == 1) continue;
        if (const char* error =
                add_splits<scalar_t>(samples, share.k, share.splits, splits, out + n0 * share.k, stream))
          return error;
      }
      return nullptr;
    });
  }
};

// Block (n, range, split) adds the numbers of b[n0 + n] that fall to its split, batch after batch of one position and
// then the next, to its buckets of to[n, split]: the indices say which elements of G they belong to. With a bias the
// positions come twice, the second time for the bias.
template <typename stored_t, typename scalar_t>
__global__ void __launch_bounds__(kBatch)
    one_hot_scatter_kernel(Sketch sketch, PairShape s, Share share, int64_t n0, Ids a,
                           const __grid_constant__ View<stored_t> b, scalar_t* to) {
  const Place place(share);
  Buckets<scalar_t> buckets(share, place);
  auto* cells = reinterpret_cast<uint32_t*>(dynamic_shared<scalar_t>() + share.copies * share.width);
  const int64_t in_features = s.I - a.bias, n = n0 + place.n, count = s.T * s.O * (1 + a.bias);
  for (int64_t first = place.split * kBatch; first < count; first += share.splits * kBatch) {
    const int64_t number_of = first + threadIdx.x, t = number_of / s.O, o = number_of % s.O;
    const bool present = number_of < count;
    Entry drawn = 0;
    scalar_t x = 0;
    if (present) {
      const int64_t j = t < s.T ? o * in_features + a.data[n * a.n_stride + t * a.t_stride] : s.O * in_features + o;
      drawn = entry(sketch.source, j, sketch.k);
      x = number(b, n * s.T + t % s.T, o);
    }
    buckets.add(drawn, x, turns_of(drawn, present, share.copies, cells));
  }
  buckets.write(true, to + (place.n * share.splits + place.split) * share.k);
}

template <typename scalar_t>
struct OneHotSjlt {
  Sketch sketch;
  PairShape s;
  Share share;
  int64_t round;
  scalar_t* splits;

  OneHotSjlt(const Sketch& sketch, const PairShape& s, bool bias, Scratch& scratch) : sketch(sketch), s(s) {
    const int64_t numbers = s.T * s.O * (1 + bias);
    share = share_of<scalar_t>(sketch.k, numbers, ceil_div(numbers, kBatch));
    const int64_t fit = kSplitBytes / (share.splits * share.k * static_cast<int64_t>(sizeof(scalar_t)));
    round = share.splits == 1 ? s.N : std::clamp<int64_t>(fit, 1, s.N);
    splits = scratch.take<scalar_t>(share.splits == 1 ? 0 : round * share.splits * share.k);
  }

  template <typename stored_t>
  const char* operator()(const Ids& a, const View<stored_t>& b, scalar_t* out, void* stream) const {
    const int shared_bytes = sum_bytes<scalar_t>(share) + kTurnCells * sizeof(uint32_t);
    for (int64_t n0 = 0; n0 < s.N; n0 += round) {
      const int64_t samples = std::min(round, s.N - n0);
      scalar_t* const to = share.splits == 1 ? out + n0 * share.k : splits;
      if (const char* error = launch(&one_hot_scatter_kernel<stored_t, scalar_t>, samples * share.blocks(), kBatch,
                                     shared_bytes, stream, sketch, s, share, n0, a, b, to))
        return error;
      if (share.splits == 1) continue;
      if (const char* error = add_splits<scalar_t>(samples, share.k, share.splits, splits, out + n0 * share.k, stream))
        return error;
    }
    return nullptr;
  }
};

}  // namespace infotorch::cuda
