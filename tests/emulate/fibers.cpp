// The scheduler behind cuda_runtime.h. It is compiled without instrumentation, since its bookkeeping is no CUDA
// thread's, and with -DEMULATE_ASAN or -DEMULATE_TSAN it tells the sanitizer which fiber runs. To ThreadSanitizer every
// CUDA thread is a thread of its own that only launches and barriers order, so a race is found whatever the schedule.
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "cuda_runtime.h"
#ifdef EMULATE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EMULATE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

dim3 gridDim, blockDim;
uint3 blockIdx, threadIdx;

namespace emulate {
uint64_t seed = 1, launches = 0;
std::map<const void*, Launch> asked;
namespace {

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / warpSize;
constexpr size_t kStack = 128 << 10;                           // bytes
constexpr size_t kShared = 48 << 10, kSharedOptIn = 99 << 10;  // the least that sm_80 ... sm_120 have

struct Barrier;

struct Fiber {
  int index;
  uint3 id;
  ucontext_t start;
  void* jump[5];  // where it goes on, once begun
  bool begun, done;
  Barrier* waits;
  const void* brings;  // to a warp_exchange
  char* stack;
  size_t stack_size;
  void *tsan, *fake_stack;
};

struct Barrier {
  using Gate = char[2];  // taken in turns, lest a thread slow to leave seem ordered after what others did since

  size_t want = 0;
  std::vector<Fiber*> waiting = {};
  int round = 0;
  Gate* gate = nullptr;
};

// A thread is dear to TSan, so blocks take turns with two sets of them. Blocks of one set seem ordered, blocks of
// different sets don't; which ones share a set varies with the seed.
struct Set {
  Fiber fibers[kMostThreads];
  Barrier::Gate gates[1 + kMostWarps];
};

Set sets[2];
Fiber host, *now = &host;
char launched, ended;  // gates between the host and all threads of a launch
std::map<const void*, int64_t> opted_in;

[[noreturn]] void die(const char* why) {
  std::fprintf(stderr, "emulate: %s (seed %llu)\n", why, static_cast<unsigned long long>(seed));
  std::abort();
}

// Who acquires a gate is ordered after all that those who released it had done.
#ifdef EMULATE_TSAN
void release(char& gate) { __tsan_release(&gate); }
void acquire(char& gate) { __tsan_acquire(&gate); }
#else
void release(char&) {}
void acquire(char&) {}
#endif

// Never returns; on its own because a function may not jump to itself. swapcontext would save the signal mask with
// every switch, which takes longer than all the rest.
[[gnu::noinline]] void go_on(Fiber* fiber) {
  if (fiber->begun) __builtin_longjmp(fiber->jump, 1);
  fiber->begun = true;
  setcontext(&fiber->start);
}

[[gnu::noinline]] void switch_to(Fiber* to) {
  Fiber* const from = now;
  now = to;
  threadIdx = to->id;
#ifdef EMULATE_ASAN
  __sanitizer_start_switch_fiber(from->done ? nullptr : &from->fake_stack, to->stack, to->stack_size);
#endif
#ifdef EMULATE_TSAN
  __tsan_switch_to_fiber(to->tsan, __tsan_switch_to_fiber_no_sync);
#endif
  if (!__builtin_setjmp(from->jump)) go_on(to);
#ifdef EMULATE_ASAN
  __sanitizer_finish_switch_fiber(now->fake_stack, nullptr, nullptr);
#endif
}

// Which runnable thread goes next. The first three let a warp run as far as it can before the others; `oldest` keeps
// all threads in step.
enum class Order { forward, backward, newest, oldest, any, kCount };

class Block {
 public:
  Block(Set& set, int size, char* shared, const std::function<void()>& body)
      : fibers(set.fibers), shared(shared), body(body), syncs(1 + kMostWarps), exchanges(kMostWarps), size(size) {
    for (size_t k = 0; k < syncs.size(); ++k) syncs[k].gate = &set.gates[k];
    syncs[0].want = size;
    for (int k = 0; k < size; ++k) {
      fibers[k].index = k;
      ++sync_of_warp(fibers[k]).want;
      ++exchange_of_warp(fibers[k]).want;
    }
  }

  void run(std::mt19937_64& rng);

  Barrier& sync_of_all() { return syncs[0]; }
  Barrier& sync_of_warp(const Fiber& f) { return syncs[1 + f.index / warpSize]; }
  Barrier& exchange_of_warp(const Fiber& f) { return exchanges[f.index / warpSize]; }

  Fiber* const fibers;
  char* const shared;
  const std::function<void()>& body;

 private:
  std::vector<Barrier> syncs, exchanges;
  const int size;
};

Block* block;

void enter() {
#ifdef EMULATE_ASAN
  const void* stack;
  __sanitizer_finish_switch_fiber(nullptr, &stack, &host.stack_size);
  host.stack = static_cast<char*>(const_cast<void*>(stack));
#endif
  acquire(launched);
  block->body();
  release(ended);
  now->done = true;
  switch_to(&host);
}

void prepare(Fiber& f) {
  const unsigned k = f.index;
  f.id = {k % blockDim.x, k / blockDim.x % blockDim.y, k / blockDim.x / blockDim.y};
  f.begun = f.done = false;
  f.fake_stack = nullptr;
  if (!f.stack) {
    f.stack_size = kStack;
    f.stack = static_cast<char*>(mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (f.stack == MAP_FAILED) die("no memory for another stack");
#ifdef EMULATE_TSAN
    f.tsan = __tsan_create_fiber(0);
#endif
  }
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack;
  f.start.uc_stack.ss_size = f.stack_size;
  makecontext(&f.start, enter, 0);
}

void Block::run(std::mt19937_64& rng) {
  const auto order = static_cast<Order>(rng() % static_cast<int>(Order::kCount));
  std::priority_queue<std::pair<int64_t, Fiber*>> ready;  // the largest key goes next
  int64_t ticks = 0;
  const auto make_ready = [&](Fiber* f) {
    const int64_t keys[] = {-f->index, f->index, ticks, -ticks, static_cast<int64_t>(rng() >> 1)};
    ready.emplace(keys[static_cast<int>(order)], f);
    ++ticks;
  };
  for (int k = 0; k < size; ++k) {
    prepare(fibers[k]);
    make_ready(&fibers[k]);
  }
  for (int live = size; live > 0;) {
    if (ready.empty()) die("a barrier or shuffle that only part of its block or warp reaches");
    Fiber* const f = ready.top().second;
    ready.pop();
    switch_to(f);
    if (f->done) {
      --live;
      continue;
    }
    Barrier& b = *f->waits;
    b.waiting.push_back(f);
    if (b.waiting.size() < b.want) continue;
    for (Fiber* const waiting : b.waiting) make_ready(waiting);
    b.waiting.clear();
    ++b.round;
  }
}

void wait(Barrier& b) {
  now->waits = &b;
  switch_to(&host);
}

void sync(Barrier& b) {
  char& gate = (*b.gate)[b.round % 2];
  release(gate);
  wait(b);
  acquire(gate);
}

Block& here() {
  if (now == &host) die("a barrier, shuffle or shared memory outside of a kernel");
  return *block;
}

}  // namespace

void* shared_memory() { return here().shared; }
int lane() { return now->index % warpSize; }
void sync_block() { sync(here().sync_of_all()); }
void sync_warp() { sync(here().sync_of_warp(*now)); }

void demand_full_mask(unsigned mask) {
  if (mask != ~0u) die("a mask that isn't of the full warp");
}

void warp_exchange(const void* mine, size_t bytes, void* all) {
  Barrier& exchange = here().exchange_of_warp(*now);
  now->brings = mine;
  wait(exchange);
  auto* to = static_cast<volatile char*>(all);  // volatile: a memcpy would be seen by TSan, as a race
  const Fiber* from = now - lane();
  for (size_t k = 0; k < warpSize; ++k, ++from) {
    const char* const theirs = static_cast<const char*>(from->brings);
    for (size_t byte = 0; byte < bytes; ++byte) *to++ = k < exchange.want ? theirs[byte] : '\xff';
  }
  wait(exchange);  // what a lane brought must stay until all have read it
}

bool allow_shared(const void* kernel, int64_t bytes) {
  if (bytes < 0 || bytes > static_cast<int64_t>(kSharedOptIn)) return false;
  opted_in[kernel] = bytes;
  opted_in[nullptr] = std::max(opted_in[nullptr], bytes);
  return true;
}

void run(dim3 grid, dim3 threads, size_t shared_bytes, const std::function<void()>& body, const void* kernel) {
  const uint64_t size = uint64_t{threads.x} * threads.y * threads.z, blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (now != &host) die("a launch from inside a kernel");
  if (size < 1 || size > kMostThreads || threads.z > 64) die("a block must have 1 to 1024 threads, 64 at most along z");
  if (blocks < 1 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) die("a grid that is empty or too large");
  const size_t allowed = std::max<size_t>(kShared, opted_in.count(kernel) ? opted_in[kernel] : 0);
  if (shared_bytes > allowed) die("more dynamic shared memory than the kernel has opted in for");

  std::mt19937_64 rng(seed);
  std::vector<unsigned> order(blocks);
  for (size_t k = 0; k < blocks; ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), rng);
  ++launches;
  if (kernel != nullptr) {
    Launch& most = asked[kernel];
    most = {std::max(most.threads, static_cast<int>(size)), std::max(most.shared_bytes, shared_bytes)};
  }
  gridDim = grid;
  blockDim = threads;
  host.begun = true;
#ifdef EMULATE_TSAN
  host.tsan = __tsan_get_current_fiber();
#endif
  std::vector<std::unique_ptr<char[]>> shared;  // held until the launch's threads are known to have ended
  for (size_t k = 0; k < blocks; ++k) {
    blockIdx = {order[k] % grid.x, order[k] / grid.x % grid.y, order[k] / grid.x / grid.y};
    shared.emplace_back(new char[shared_bytes]);
    std::memset(shared[k].get(), 0xff, shared_bytes);
    release(launched);
    Block running(sets[k % 2], size, shared[k].get(), body);
    block = &running;
    running.run(rng);
  }
  acquire(ended);
}

}  // namespace emulate
