// How device code reads a Rows: the one file of csrc/cuda that knows how numbers lie in memory.
//
//   View<stored_t>   a side of all samples as one matrix: N * T positions (sample after sample) by I features, a bias
//                    of ones included; made on the host by with_views(), which finds out how it is best read
//   number(x, p, i)  one element, widened, for kernels that read a little
//   Strip            consecutive positions, or features, of a View
//   TileReader       brings [outer, depth] tiles of a Strip into shared memory, through registers, so that memory is
//                    waited for while a product runs
//
// Patches of convolutions, transposes and slices are Views like any other. A place is the sum of an offset along the
// positions and one along the features; TileReader keeps both in shared memory, so that divisions are done once for a
// row or a column of a tile and not for its elements.
#pragma once

#include <algorithm>

#include "../pair.h"
#include "launch.h"

namespace infotorch::cuda {

enum class Along { positions, features };

constexpr int kChunkBytes = 16;  // the widest load and store

template <typename stored_t>
constexpr int kChunk = kChunkBytes / static_cast<int>(sizeof(stored_t));  // numbers in it

template <typename stored_type>
struct View {
  using stored_t = stored_type;
  const stored_t* data;
  Axes p, i;
  int64_t positions, features;  // features counts the bias
  bool bias;
  Along fast;  // where neighbours are near in memory: lanes run along it
  bool wide;   // chunks along `fast` are 16 aligned bytes, from any multiple of kChunk on

  INFOTORCH_HOST_DEVICE int64_t depth() const { return features - bias; }  // features that lie in memory
};

// The place of element `index`. x must be a kernel's __grid_constant__ parameter, or the loop would copy it.
__device__ __forceinline__ int64_t offset(const Axes& x, int64_t index) {
  int64_t at = 0;
#pragma unroll 1
  for (int d = x.count - 1; d > 0; --d) {
    const int64_t next = index / x.size[d];
    at += (index - next * x.size[d]) * x.stride[d];
    index = next;
  }
  return at + index * x.stride[0];
}

namespace rows {

// Whether chunks along `x`, at any place of `other`, are whole and aligned.
template <typename stored_t>
bool wide(const stored_t* data, const Axes& x, const Axes& other) {
  const int64_t chunk = kChunk<stored_t>;
  bool aligned = reinterpret_cast<uintptr_t>(data) % kChunkBytes == 0 && x.step() == 1;
  if (x.count > 1) aligned = aligned && x.size[x.count - 1] % chunk == 0;
  for (int d = 0; d + 1 < x.count; ++d) aligned = aligned && x.stride[d] % chunk == 0;
  for (int d = 0; d < other.count; ++d) aligned = aligned && other.stride[d] % chunk == 0;
  return aligned;
}

inline Along fast_axis(const Axes& p, const Axes& i) {
  const int64_t p_run = p.size[p.count - 1], i_run = i.size[i.count - 1];
  if (p_run == 1 || i_run == 1) return p_run == 1 ? Along::features : Along::positions;
  if (p.step() != i.step()) return p.step() < i.step() ? Along::positions : Along::features;
  return p_run > i_run ? Along::positions : Along::features;
}

template <typename stored_t, typename scalar_t>
View<stored_t> view(const Rows<scalar_t>& x, int64_t N) {
  const Axes p = stacked(x, 0, N).t;
  const auto* data = x.template as<stored_t>();
  const Along fast = fast_axis(p, x.i);
  const bool along_i = fast == Along::features;
  return {
      data, p, x.i, p.total(), x.i.total() + x.bias, x.bias, fast, wide(data, along_i ? x.i : p, along_i ? p : x.i)};
}

}  // namespace rows

// One side of N samples.
template <typename scalar_t>
struct Stack {
  const Rows<scalar_t>& rows;
  int64_t N;
};
template <typename scalar_t>
Stack(const Rows<scalar_t>&, int64_t) -> Stack<scalar_t>;

// Runs body(View of each), all of one stored type. The samples must have positions.
template <typename scalar_t, typename Body, typename... More>
const char* with_views(const Body& body, const Stack<scalar_t>& first, const Stack<More>&... more) {
  const char* error = nullptr;
  for_storage(first.rows, [&](const auto* data) {
    using stored_t = std::decay_t<decltype(*data)>;
    error = body(rows::view<stored_t>(first.rows, first.N), rows::view<stored_t>(more.rows, more.N)...);
  });
  return error;
}

template <typename stored_t>
__device__ __forceinline__ auto number(const View<stored_t>& x, int64_t p, int64_t i) {
  using scalar_t = decltype(widen(stored_t{}));
  if (x.bias && i == x.features - 1) return scalar_t(1);
  return widen(x.data[offset(x.p, p) + offset(x.i, i)]);
}

// threadIdx.x or blockIdx.x, of which the compiler doesn't see that it is what it was before: it would keep all that
// follows from it in registers, of which a product at two blocks on an SM has none to spare.
__device__ __forceinline__ int anew(int index) {
#ifndef INFOTORCH_EMULATE
  asm volatile("" : "+r"(index));
#endif
  return index;
}

// 16 bytes of numbers in registers.
template <typename stored_t>
struct alignas(kChunkBytes) Chunk {
  uint32_t word[4];

  __device__ __forceinline__ void load(const stored_t* from) {
    const uint4 all = __ldg(reinterpret_cast<const uint4*>(from));
    word[0] = all.x, word[1] = all.y, word[2] = all.z, word[3] = all.w;
  }
  __device__ __forceinline__ void store(stored_t* to) const {
    *reinterpret_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
  }

  // j must be known to the compiler, or the words leave the registers.
  __device__ __forceinline__ void set(int j, stored_t x) {
    if constexpr (sizeof(stored_t) == 2)
      word[j / 2] = j % 2 ? word[j / 2] | static_cast<uint32_t>(x.bits) << 16 : x.bits;
    else
      memcpy(&word[j * sizeof(stored_t) / 4], &x, sizeof(stored_t));
  }
  __device__ __forceinline__ stored_t get(int j) const {
    stored_t x;
    if constexpr (sizeof(stored_t) == 2)
      x.bits = static_cast<uint16_t>(word[j / 2] >> 16 * (j % 2));
    else
      memcpy(&x, &word[j * sizeof(stored_t) / 4], sizeof(stored_t));
    return x;
  }
};

template <typename stored_t>
__device__ __forceinline__ stored_t one() {
  if constexpr (std::is_same_v<stored_t, BFloat16>)
    return {0x3f80};
  else if constexpr (std::is_same_v<stored_t, Float16>)
    return {0x3c00};
  else
    return 1;
}

template <typename stored_t>
struct Strip {
  const View<stored_t>& view;
  int64_t begin, end;
};

// Reads tiles of `strip`'s kOuter rows or fewer, kDepth deep along the other axis of its view; what lies outside is 0.
// Layout says how a tile lies in shared memory:
//   stored_t, kOuter, kDepth, kThreads, kAlong (the axis of the depth)
//   kDepthNear, kStride           neighbours along the depth, or along the outer axis, are neighbours there; and how
//   far
//                                 apart those along the other axis are, a multiple of 16 bytes
//   kPrepares, prepare(x)         whether and how a number changes on its way
template <typename Layout>
class TileReader {
 public:
  using stored_t = typename Layout::stored_t;
  static constexpr int kOuter = Layout::kOuter, kDepth = Layout::kDepth;
  static constexpr int kOffsets = kOuter + 2 * kDepth;  // int64s of shared memory, two depths in turn

  // `offsets` has room for kOffsets. A barrier must come before the first fetch.
  __device__ __forceinline__ TileReader(const Strip<stored_t>& strip, int64_t depth_begin, int64_t depth_end,
                                        int64_t* offsets)
      : view_(strip.view), outer_(offsets), depth_(offsets + kOuter), depth_begin_(depth_begin), depth_end_(depth_end) {
    const bool depth_fast = view_.fast == Layout::kAlong;
    const bool wide = view_.wide && (depth_fast ? depth_begin : strip.begin) % kLength == 0;
    const int shift = log2(depth_fast ? kDepth : kOuter) - (wide ? log2(kLength) : 0);
    mode_ = shift | (wide ? kWide : 0) | (depth_fast == wide ? kOnDepth : 0);
#pragma unroll 1
    for (int r = threadIdx.x; r < kOuter; r += Layout::kThreads)
      outer_[r] = place < Layout::kAlong == Along::positions > (strip.begin + r, strip.end);
  }

  // Finds out where the depths of a step lie. Barriers must keep it from that step's fetch, and from the fetch of two
  // steps before.
  __device__ __forceinline__ void locate(int step) {
    static_assert(kDepth <= Layout::kThreads, "a thread for every depth");
    if (threadIdx.x < kDepth)
      depth_[step % 2 * kDepth + threadIdx.x] =
          place < Layout::kAlong ==
          Along::features > (depth_begin_ + static_cast<int64_t>(step) * kDepth + threadIdx.x, depth_end_);
  }

  // Global memory to registers.
  __device__ __forceinline__ void fetch(int step) {
    const int64_t* depth = depth_ + step % 2 * kDepth;
    const int64_t *fixed_at = on_depth() ? outer_ : depth, *chunk_at = on_depth() ? depth : outer_;
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const Spot at = spot(c);
      const int64_t fixed = fixed_at[at.fixed], *along = chunk_at + at.start;
      if (wide() && (fixed | along[kLength - 1]) >= 0) {  // then the numbers before the last are there too
        held_[c].load(view_.data + fixed + along[0]);
      } else {
#pragma unroll
        for (int j = 0; j < kLength; ++j) held_[c].set(j, read(fixed, along[j]));
      }
    }
  }

  // Registers to shared memory.
  __device__ __forceinline__ void store(stored_t* tile) const {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const Spot at = spot(c);
      if (on_depth() == Layout::kDepthNear) {
        Chunk<stored_t> chunk = held_[c];
        if constexpr (Layout::kPrepares) {
#pragma unroll
          for (int j = 0; j < kLength; ++j) chunk.set(j, Layout::prepare(chunk.get(j)));
        }
        chunk.store(tile + at.fixed * Layout::kStride + at.start);
      } else {
#pragma unroll
        for (int j = 0; j < kLength; ++j)
          tile[(at.start + j) * Layout::kStride + at.fixed] = Layout::prepare(held_[c].get(j));
      }
    }
  }

 private:
  static constexpr int64_t kAbsent = -1, kOnes = -2;  // in the place of an offset
  static constexpr int kLength = kChunk<stored_t>;
  static constexpr bool kOfFeatures = Layout::kAlong == Along::features;        // the depth
  static constexpr int kChunks = kOuter * kDepth / kLength / Layout::kThreads;  // that a thread holds
  static_assert(kChunks * kLength * Layout::kThreads == kOuter * kDepth, "every thread holds the same");

  __device__ static constexpr int log2(int x) { return x == 1 ? 0 : 1 + log2(x / 2); }

  template <bool kFeatures>
  __device__ __forceinline__ int64_t place(int64_t index, int64_t end) const {
    if (index >= end) return kAbsent;
    if constexpr (kFeatures)
      if (view_.bias && index == view_.features - 1) return kOnes;
    return offset(kFeatures ? view_.i : view_.p, index);
  }

  __device__ __forceinline__ bool wide() const { return mode_ & kWide; }
  __device__ __forceinline__ bool on_depth() const { return mode_ & kOnDepth; }

  // A chunk of the tile: kChunk numbers from `start` along one axis, at `fixed` of the other.
  struct Spot {
    int fixed, start;
  };

  // Lanes run along the fast axis of memory. A thread takes a chunk along that axis by one wide load or, where memory
  // doesn't allow that, along the other axis by a load for each number.
  __device__ __forceinline__ Spot spot(int c) const {
    const int thread = anew(threadIdx.x), shift = mode_ & 0xff;
    const int low = thread & ((1 << shift) - 1), high = (thread + c * Layout::kThreads) >> shift;
    return {wide() ? high : low, (wide() ? low : high) * kLength};
  }

  __device__ __forceinline__ stored_t read(int64_t fixed, int64_t along) const {
    if ((fixed | along) >= 0) return view_.data[fixed + along];
    return fixed == kAbsent || along == kAbsent ? stored_t{} : one<stored_t>();
  }

  const View<stored_t>& view_;
  int64_t *const outer_, *const depth_;
  const int64_t depth_begin_, depth_end_;
  int mode_;  // in one register: how many bits of a thread's number run along the fast axis, and these two
  static constexpr int kWide = 1 << 8, kOnDepth = 1 << 9;  // chunks are read at once; they lie along the depth
  Chunk<stored_t> held_[kChunks];
};

}  // namespace infotorch::cuda
