// A block's product of two tiles, acc [kEdge, kEdge] += X Y^T over a depth, of rows that TileReader reads.
//
//   using P = Product<stored_t, kTf32, kEdge, Along::features>;     sums over features: <row of x, row of y>
//   using P = Product<stored_t, kTf32, kEdge, Along::positions>;    sums over positions: G = sum_t b[t] (x) a[t]
//   with_product<stored_t, kAlong>(edge, tf32, body)                on the host: body(P()) for an edge of tiles.h
//   typename P::Accumulator acc = {};
//   P::add({x, x_begin, x_end}, {y, y_begin, y_end}, depth_begin, depth_end, acc);    // every thread, together
//   P::for_each(acc, body)                                          body(row, col, value) for all of the tile, together
//   for k < P::kCount: acc.value[k] belongs to place (P::row(k), P::col(k)) of the tile
//
// Write results by for_each, to places found from anew(blockIdx.x): lanes run along columns, and no thread keeps
// addresses for all that it summed.
//
// Launch with P::kThreads threads and P::kSharedBytes of dynamic shared memory, which is free again when add returns.
// Begins and ends count positions of all samples, n * T + t, or features, the bias's included; what lies outside is 0.
//
// The stored type chooses the engine: 16-bit numbers go through the tensor cores, float and double through fused
// multiply-adds, float through the tensor cores as tf32 if kTf32. Sums are kept in float, or double for double.
#pragma once

#include "mma.h"
#include "rows.h"
#include "tiles.h"

namespace infotorch::cuda {

// Warps of a block and their tiles. Edge 128 at 64 sums a thread is the largest that leaves room for two blocks on an
// SM (128 registers a thread): a warp's 32 x 64 tile reads 96 numbers from shared memory for 2048 multiply-adds, which
// keeps shared memory, at 128 bytes a cycle, just ahead of mma.sync on sm_80 and sm_90. Smaller edges are for operands
// that are themselves small: waiting on memory decides there.
template <int kEdge>
struct Warps {
  static_assert(kEdge == 32 || kEdge == 64 || kEdge == 128, "an edge that the table below knows");
  static constexpr int kDown = kEdge == 128 ? 4 : 2, kAcross = 2;
  static constexpr int kRows = kEdge / kDown, kCols = kEdge / kAcross;  // of a warp's tile
  static constexpr int kThreads = kWarp * kDown * kAcross;

  __device__ __forceinline__ static int row(int thread) { return thread / kWarp / kAcross * kRows; }
  __device__ __forceinline__ static int col(int thread) { return thread / kWarp % kAcross * kCols; }
};

// What all engines share: 64 bytes of depth a step, two chunks or fewer of each side in a thread's registers meanwhile.
template <typename stored_type, int kEdge, Along kAlongDepth>
struct TileSizes {
  using stored_t = stored_type;
  static constexpr int kOuter = kEdge, kDepth = 64 / sizeof(stored_t), kThreads = Warps<kEdge>::kThreads;
  static constexpr Along kAlong = kAlongDepth;
  static constexpr int kPad = kChunk<stored_t>;
};

// Fused multiply-adds. Tiles lie [depth, outer]; a thread's sums are vectors of 16 bytes or fewer, strewn so that a
// warp's reads of y are one row and those of x are broadcasts.
template <typename stored_type, int kEdge, Along kAlongDepth>
struct FmaEngine : TileSizes<stored_type, kEdge, kAlongDepth> {
  using Sizes = TileSizes<stored_type, kEdge, kAlongDepth>;
  using Warp = Warps<kEdge>;
  using stored_t = stored_type;
  using scalar_t = stored_type;
  static constexpr bool kDepthNear = false, kPrepares = false;
  static constexpr int kStride = kEdge + Sizes::kPad, kTile = Sizes::kDepth * kStride;
  static constexpr int kLanesDown = 4, kLanesAcross = 8;
  static constexpr int kRows = Warp::kRows / kLanesDown, kCols = Warp::kCols / kLanesAcross;  // of a thread
  static constexpr int kRowVector = kRows < Sizes::kPad ? kRows : Sizes::kPad;
  static constexpr int kColVector = kCols < Sizes::kPad ? kCols : Sizes::kPad;
  static constexpr int kCount = kRows * kCols;

  __device__ static int place(int outer, int depth) { return depth * kStride + outer; }
  __device__ static stored_t prepare(stored_t x) { return x; }

  __device__ __forceinline__ static int row_of(int thread, int r) {
    const int lane = thread % kWarp / kLanesAcross;
    return Warp::row(thread) + (r / kRowVector * kLanesDown + lane) * kRowVector + r % kRowVector;
  }
  __device__ __forceinline__ static int col_of(int thread, int c) {
    const int lane = thread % kLanesAcross;
    return Warp::col(thread) + (c / kColVector * kLanesAcross + lane) * kColVector + c % kColVector;
  }
  __device__ __forceinline__ static int row(int k) { return row_of(threadIdx.x, k / kCols); }
  __device__ __forceinline__ static int col(int k) { return col_of(threadIdx.x, k % kCols); }

  __device__ __forceinline__ static void multiply(const stored_t* x, const stored_t* y, scalar_t (&acc)[kCount]) {
    const int thread = anew(threadIdx.x);
#pragma unroll
    for (int k = 0; k < Sizes::kDepth; ++k) {
      scalar_t left[kRows], right[kCols];
#pragma unroll
      for (int r = 0; r < kRows; r += kRowVector) read<kRowVector>(x + place(row_of(thread, r), k), left + r);
#pragma unroll
      for (int c = 0; c < kCols; c += kColVector) read<kColVector>(y + place(col_of(thread, c), k), right + c);
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int c = 0; c < kCols; ++c) acc[r * kCols + c] += left[r] * right[c];
    }
  }

 private:
  // One read of `count` neighbours.
  template <int count>
  __device__ __forceinline__ static void read(const scalar_t* from, scalar_t* to) {
    struct alignas(count * sizeof(scalar_t)) Vector {
      scalar_t x[count];
    };
    const Vector all = *reinterpret_cast<const Vector*>(from);
#pragma unroll
    for (int j = 0; j < count; ++j) to[j] = all.x[j];
  }
};

// What the tensor-core engines share. Tiles lie [outer, depth] if the depth is features, else [depth, outer], as dense
// rows do. The padding spreads the eight rows that a matrix load touches over all banks.
template <typename stored_type, int kEdge, Along kAlongDepth>
struct MmaEngine : TileSizes<stored_type, kEdge, kAlongDepth> {
  using Sizes = TileSizes<stored_type, kEdge, kAlongDepth>;
  using Warp = Warps<kEdge>;
  using stored_t = stored_type;
  using scalar_t = float;
  static constexpr bool kDepthNear = kAlongDepth == Along::features;
  static constexpr int kStride = kDepthNear ? Sizes::kDepth + Sizes::kPad : kEdge + 8;
  static constexpr int kTile = kStride * (kDepthNear ? kEdge : Sizes::kDepth);
  static constexpr int kDown = Warp::kRows / 16, kAcross = Warp::kCols / 8;  // of m16n8 products in a warp's tile
  static constexpr int kCount = kDown * kAcross * 4;

  __device__ __forceinline__ static int place(int outer, int depth) {
    return kDepthNear ? outer * kStride + depth : depth * kStride + outer;
  }
  __device__ __forceinline__ static int row(int k) {
    return Warp::row(threadIdx.x) + k / (4 * kAcross) * 16 + threadIdx.x % kWarp / 4 + k % 4 / 2 * 8;
  }
  __device__ __forceinline__ static int col(int k) {
    return Warp::col(threadIdx.x) + k / 4 % kAcross * 8 + threadIdx.x % 4 * 2 + k % 2;
  }
};

template <typename stored_type, int kEdge, Along kAlongDepth>
struct HalfEngine : MmaEngine<stored_type, kEdge, kAlongDepth> {
  using Base = MmaEngine<stored_type, kEdge, kAlongDepth>;
  using Warp = Warps<kEdge>;
  using stored_t = stored_type;
  static constexpr bool kPrepares = false;

  __device__ static stored_t prepare(stored_t x) { return x; }

  __device__ __forceinline__ static void multiply(const stored_t* x, const stored_t* y, float (&acc)[Base::kCount]) {
    // Where the matrix lies that this lane names a row of, in the order of mma.h: matrices of x run along its rows
    // first, those of y along the depth.
    const int thread = anew(threadIdx.x), first = thread / 8 % 2 * 8, second = thread / 16 % 2 * 8;
#pragma unroll
    for (int k = 0; k < Base::kDepth; k += 16) {
      uint32_t left[Base::kDown][4];
#pragma unroll
      for (int i = 0; i < Base::kDown; ++i) load(x, thread, Warp::row(thread) + 16 * i + first, k + second, left[i]);
#pragma unroll
      for (int j = 0; j < Base::kAcross; j += 2) {
        uint32_t right[4];  // of two products
        load(y, thread, Warp::col(thread) + 8 * j + second, k + first, right);
#pragma unroll
        for (int i = 0; i < Base::kDown; ++i)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float(&sum)[4] = reinterpret_cast<float(&)[4]>(acc[(i * Base::kAcross + j + h) * 4]);
            multiply_m16n8k16<stored_t>(sum, left[i], {right[2 * h], right[2 * h + 1]});
          }
      }
    }
  }

 private:
  // Four matrices; this lane names row lane % 8 of the one that begins at (outer, depth).
  __device__ __forceinline__ static void load(const stored_t* tile, int thread, int outer, int depth,
                                              uint32_t (&to)[4]) {
    const int row = thread % 8;
    if constexpr (Base::kDepthNear)
      load_matrices<false>(to, tile + Base::place(outer + row, depth));
    else
      load_matrices<true>(to, tile + Base::place(outer, depth + row));
  }
};

template <int kEdge, Along kAlongDepth>
struct Tf32Engine : MmaEngine<float, kEdge, kAlongDepth> {
  using Base = MmaEngine<float, kEdge, kAlongDepth>;
  using Warp = Warps<kEdge>;
  static constexpr bool kPrepares = true;

  __device__ __forceinline__ static float prepare(float x) { return round_tf32(x); }

  __device__ __forceinline__ static void multiply(const float* x, const float* y, float (&acc)[Base::kCount]) {
    const int thread = anew(threadIdx.x), g = thread % kWarp / 4, q = thread % 4;
#pragma unroll
    for (int k = 0; k < Base::kDepth; k += 8) {
      uint32_t right[Base::kAcross][2];
#pragma unroll
      for (int j = 0; j < Base::kAcross; ++j)
#pragma unroll
        for (int r = 0; r < 2; ++r)
          right[j][r] = __float_as_uint(y[Base::place(Warp::col(thread) + 8 * j + g, k + q + 4 * r)]);
#pragma unroll
      for (int i = 0; i < Base::kDown; ++i) {
        uint32_t left[4];
#pragma unroll
        for (int r = 0; r < 4; ++r)
          left[r] = __float_as_uint(x[Base::place(Warp::row(thread) + 16 * i + g + r % 2 * 8, k + q + r / 2 * 4)]);
#pragma unroll
        for (int j = 0; j < Base::kAcross; ++j) {
          float(&sum)[4] = reinterpret_cast<float(&)[4]>(acc[(i * Base::kAcross + j) * 4]);
          multiply_m16n8k8(sum, left, right[j]);
        }
      }
    }
  }
};

template <typename stored_t, bool kTf32, int kEdge, Along kAlong>
using Engine =
    std::conditional_t<sizeof(stored_t) == 2, HalfEngine<stored_t, kEdge, kAlong>,
                       std::conditional_t<kTf32, Tf32Engine<kEdge, kAlong>, FmaEngine<stored_t, kEdge, kAlong>>>;

template <typename stored_type, bool kTf32, int kEdgeLength, Along kAlong>
struct Product {
  static_assert(!kTf32 || std::is_same_v<stored_type, float>, "only float can be rounded to tf32");
  static constexpr int kEdge = kEdgeLength;
  using stored_t = stored_type;
  using Math = Engine<stored_t, kTf32, kEdge, kAlong>;
  using Reader = TileReader<Math>;
  using scalar_t = typename Math::scalar_t;
  static constexpr int kThreads = Math::kThreads, kCount = Math::kCount;
  static constexpr int kSharedBytes = 4 * Math::kTile * sizeof(stored_t) + 2 * Reader::kOffsets * sizeof(int64_t);
  static_assert(512 / kThreads * (kSharedBytes + kReservedShared) <= kLeastShared, "512 threads, as registers allow");

  struct Accumulator {
    scalar_t value[kCount];
  };

  __device__ __forceinline__ static int row(int k) { return Math::row(k); }
  __device__ __forceinline__ static int col(int k) { return Math::col(k); }

  __device__ __forceinline__ static void add(const Strip<stored_t>& x, const Strip<stored_t>& y, int64_t depth_begin,
                                             int64_t depth_end, Accumulator& acc) {
    const int steps = ceil_div(depth_end - depth_begin, Math::kDepth);
    if (steps <= 0) return;
    stored_t *x_tile = dynamic_shared<stored_t>(), *y_tile = x_tile + 2 * Math::kTile;
    auto* offsets = reinterpret_cast<int64_t*>(y_tile + 2 * Math::kTile);
    // A warp whose tile lies outside, as most do where one feature sticks out, has nothing to multiply.
    const bool inside =
        Warps<kEdge>::row(threadIdx.x) < x.end - x.begin && Warps<kEdge>::col(threadIdx.x) < y.end - y.begin;
    Reader x_reader(x, depth_begin, depth_end, offsets);
    Reader y_reader(y, depth_begin, depth_end, offsets + Reader::kOffsets);
    // Step s multiplies while s + 1 is on its way from memory and s + 2 is located. It begins at -2, so that each part
    // is written, and compiled, once.
#pragma unroll 1
    for (int step = -2; step < steps; ++step) {
      const bool more = step >= -1 && step + 1 < steps;
      const int now = (step & 1) * Math::kTile, next = Math::kTile - now;
      if (more) x_reader.fetch(step + 1), y_reader.fetch(step + 1);
      if (inside && step >= 0) Math::multiply(x_tile + now, y_tile + now, acc.value);
      if (more) x_reader.store(x_tile + next), y_reader.store(y_tile + next);
      x_reader.locate(step + 2), y_reader.locate(step + 2);
      __syncthreads();
    }
  }

  // Sums go through shared memory, the rows of one row of warps after another.
  template <typename Body>
  __device__ __forceinline__ static void for_each(const Accumulator& acc, const Body& body) {
    constexpr int kRows = Warps<kEdge>::kRows, kStride = kEdge + 1;
    static_assert(kRows * kStride * sizeof(scalar_t) <= kSharedBytes, "room for the rows of a row of warps");
    scalar_t* const cell = dynamic_shared<scalar_t>();
#pragma unroll 1
    for (int first = 0; first < kEdge; first += kRows) {
      if (Warps<kEdge>::row(threadIdx.x) == first) {
#pragma unroll
        for (int k = 0; k < kCount; ++k) cell[(row(k) - first) * kStride + col(k)] = acc.value[k];
      }
      __syncthreads();
#pragma unroll 1
      for (int e = threadIdx.x; e < kRows * kEdge; e += kThreads)
        body(first + e / kEdge, e % kEdge, cell[e / kEdge * kStride + e % kEdge]);
      __syncthreads();
    }
  }
};

// Calls body(Product) with the one for numbers of stored_t and this edge, of kLeast to kMost and as the numbers allow.
// tf32 is for float alone, and not for the smallest tiles, where memory decides.
template <typename stored_t, Along kAlong, int kLeast = 32, int kMost = 128, typename Body>
const char* with_product(int edge, bool tf32, const Body& body) {
  constexpr bool kFloat = std::is_same_v<stored_t, float>;
  if constexpr (kLeast == 32)
    if (edge == 32) return body(Product<stored_t, false, 32, kAlong>());
  if constexpr (kMost == 128 && most_edge(sizeof(stored_t)) == 128) {
    if constexpr (kFloat)
      if (tf32 && edge == 128) return body(Product<stored_t, true, 128, kAlong>());
    if (edge == 128) return body(Product<stored_t, false, 128, kAlong>());
  }
  if constexpr (kFloat)
    if (tf32) return body(Product<stored_t, true, 64, kAlong>());
  return body(Product<stored_t, false, 64, kAlong>());
}

}  // namespace infotorch::cuda
