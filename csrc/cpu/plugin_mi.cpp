#include "plugin_mi.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../parallel.h"
#include "spectrum.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kMostCompared = 255;  // bytes of a sample's keys up to which all pairs are compared; then, counting
constexpr int64_t kMostKeys = 1 << 16;  // of a block of samples that are counted, so that it stays in cache
constexpr int64_t kDirectWidth = 17;    // values of so many binary digits are their own slots, others are hashed
constexpr int64_t kRunsPerTask = 1 << 14;  // that outweigh waking a thread
constexpr double kRounding = 1e-14;        // nats below which nothing but rounding is left

// Binary digits of the numbers below `end`.
int64_t width_of(int64_t end) {
  int64_t width = 0;
  while (width < 63 && int64_t{1} << width < end) ++width;
  return width;
}

// How many different cells, states and bits of a sample came in exactly v of its K runs, 1 <= v <= K. A cell is a pair
// of a state and a bit. Of `side` samples, [K + 1, side] each.
struct Spectra {
  int64_t K, side;
  std::vector<int32_t> cells, states, bits;

  Spectra(int64_t K, int64_t side) : K(K), side(side), cells((K + 1) * side), states(cells), bits(cells) {}
};

// All are functions of their own, as an inlined __restrict is forgotten, and the loop then goes number by number.
template <typename wide_t, typename lane_t>
__attribute__((noinline)) void narrow(const wide_t* __restrict from, int64_t count, lane_t* __restrict to) {
  for (int64_t q = 0; q < count; ++q) to[q] = static_cast<lane_t>(from[q]);
}

template <typename lane_t>
__attribute__((noinline)) void pair(const lane_t* __restrict states, const lane_t* __restrict bits, int64_t count,
                                    int64_t bit_width, lane_t* __restrict cells) {
  const auto times = static_cast<lane_t>(int64_t{1} << bit_width);
  for (int64_t q = 0; q < count; ++q) cells[q] = static_cast<lane_t>(states[q] * times + bits[q]);
}

template <typename lane_t>
__attribute__((noinline)) void add(const lane_t* __restrict from, int64_t count, lane_t* __restrict to) {
  for (int64_t q = 0; q < count; ++q) to[q] += from[q];
}

// Asks for the next block's part of a run. Each lies on a page of its own, where the machine doesn't look ahead itself.
template <typename wide_t>
void fetch(const wide_t* from) {
  for (int64_t at = 0; at < kSide; at += 64 / sizeof(wide_t)) __builtin_prefetch(from + at);
}

// Makes spectra by comparing all pairs of runs. A lane has the width of a cell.
template <typename lane_t, typename state_t, typename bit_t>
class Comparison {
 public:
  static constexpr int64_t side(int64_t) { return kSide; }

  explicit Comparison(const Runs<state_t, bit_t>& runs)
      : runs_(runs),
        bit_width_(width_of(runs.num_bits)),
        cells_(runs.K * kSide),
        states_(cells_),
        bits_(cells_),
        scratch_(spectrum_scratch(runs.K)) {}

  void operator()(int64_t first, int64_t count, Spectra& to) {
    for (int64_t k = 0; k < runs_.K; ++k) {  // samples behind `count` are compared too, and nobody reads what comes out
      narrow(runs_.states + k * runs_.N + first, count, states_.data() + k * kSide);
      narrow(runs_.bits + k * runs_.N + first, count, bits_.data() + k * kSide);
      if (first + 2 * kSide > runs_.N) continue;
      fetch(runs_.states + k * runs_.N + first + kSide);
      fetch(runs_.bits + k * runs_.N + first + kSide);
    }
    pair(states_.data(), bits_.data(), runs_.K * kSide, bit_width_, cells_.data());
    spectrum(cells_.data(), runs_.K, scratch_.data(), to.cells.data());
    spectrum(states_.data(), runs_.K, scratch_.data(), to.states.data());
    if (runs_.num_bits == 2)
      halves(to);
    else
      spectrum(bits_.data(), runs_.K, scratch_.data(), to.bits.data());
  }

 private:
  // Two values leave one number to find.
  void halves(Spectra& to) {
    std::fill_n(scratch_.begin(), kSide, lane_t{0});
    for (int64_t k = 0; k < runs_.K; ++k) add(bits_.data() + k * kSide, kSide, scratch_.data());
    std::fill(to.bits.begin(), to.bits.end(), 0);
    for (int64_t q = 0; q < kSide; ++q) {
      const int64_t ones = scratch_[q];
      if (ones > 0) ++to.bits[ones * kSide + q];
      if (ones < runs_.K) ++to.bits[(runs_.K - ones) * kSide + q];
    }
  }

  Runs<state_t, bit_t> runs_;
  int64_t bit_width_;
  std::vector<lane_t> cells_, states_, bits_, scratch_;
};

// How often each value came among one sample's runs. Values are their own slots, or are hashed to them.
template <bool direct>
class Counts {
 public:
  // Of values in [0, 2^width), of which at most `most` differ.
  Counts(int64_t width, int64_t most) {
    const int64_t slot_width = direct ? width : width_of(2 * most);
    times_.resize(int64_t{1} << slot_width);
    slots_.resize(most + 1);  // add writes one further than it counts
    if (!direct) owner_.resize(times_.size());
    shift_ = 64 - slot_width;
  }

  int64_t size() const { return size_; }
  uint64_t value(int64_t j) const { return direct ? slots_[j] : owner_[slots_[j]]; }  // in the order of first coming
  int64_t count(int64_t j) const { return times_[slots_[j]]; }

  void add(uint64_t value, int64_t times) {
    uint64_t slot = value;
    if (!direct) {
      slot = value * kSpread >> shift_;
      while (times_[slot] != 0 && owner_[slot] != value) slot = (slot + 1) & (times_.size() - 1);
      owner_[slot] = value;
    }
    const int64_t before = times_[slot];
    slots_[size_] = slot;
    size_ += before == 0;  // no branch: which run brings a new value can't be foreseen
    times_[slot] = before + times;
  }

  // Adds a value of count v to times[v * step], and forgets all.
  void move_to(int32_t* times, int64_t step) {
    for (int64_t j = 0; j < size_; ++j) ++times[count(j) * step];
    for (int64_t j = 0; j < size_; ++j) times_[slots_[j]] = 0;
    size_ = 0;
  }

 private:
  static constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio: neighbours land far apart
  std::vector<int64_t> times_;                             // by slot; 0 where none came
  std::vector<uint64_t> owner_, slots_;
  int64_t size_ = 0, shift_;
};

// Makes spectra by counting.
template <bool direct, typename state_t, typename bit_t>
class Counting {
 public:
  static int64_t side(int64_t K) { return std::clamp<int64_t>(kMostKeys / K, 1, kSide); }

  explicit Counting(const Runs<state_t, bit_t>& runs)
      : runs_(runs),
        bit_width_(width_of(runs.num_bits)),
        keys_(runs.K * side(runs.K)),
        cells_(width_of(runs.num_states) + bit_width_, runs.K),
        states_(width_of(runs.num_states), runs.K),
        bits_(bit_width_, runs.K) {}

  void operator()(int64_t first, int64_t count, Spectra& to) {
    const int64_t K = runs_.K;
    for (int64_t k = 0; k < K; ++k)
      for (int64_t q = 0; q < count; ++q) {
        const int64_t from = k * runs_.N + first + q;
        keys_[q * K + k] = static_cast<uint64_t>(runs_.states[from]) << bit_width_ | runs_.bits[from];
      }
    for (auto* times : {&to.cells, &to.states, &to.bits}) std::fill(times->begin(), times->end(), 0);
    const uint64_t bit = (uint64_t{1} << bit_width_) - 1;
    for (int64_t q = 0; q < count; ++q) {
      for (int64_t k = 0; k < K; ++k) cells_.add(keys_[q * K + k], 1);
      for (int64_t j = 0; j < cells_.size(); ++j) {
        states_.add(cells_.value(j) >> bit_width_, cells_.count(j));
        bits_.add(cells_.value(j) & bit, cells_.count(j));
      }
      cells_.move_to(to.cells.data() + q, to.side);
      states_.move_to(to.states.data() + q, to.side);
      bits_.move_to(to.bits.data() + q, to.side);
    }
  }

 private:
  Runs<state_t, bit_t> runs_;
  int64_t bit_width_;
  std::vector<uint64_t> keys_;
  Counts<direct> cells_, states_, bits_;
};

// each(first, count, spectra, worker) for all blocks of samples; every thread makes a worker of its own.
template <typename Fill, typename state_t, typename bit_t, typename MakeWorker, typename Each>
void for_blocks_by(const Runs<state_t, bit_t>& runs, const MakeWorker& make_worker, const Each& each) {
  struct Thread {
    Fill fill;
    Spectra spectra;
    decltype(make_worker(0)) worker;
  };
  const int64_t side = Fill::side(runs.K), blocks = (runs.N + side - 1) / side;
  const auto make_thread = [&] { return Thread{Fill(runs), Spectra(runs.K, side), make_worker(side)}; };
  parallel_tasks(blocks, kRunsPerTask / (side * runs.K) + 1, make_thread, [&](int64_t p, Thread& thread) {
    const int64_t first = p * side, count = std::min(side, runs.N - first);
    thread.fill(first, count, thread.spectra);
    each(first, count, thread.spectra, thread.worker);
  });
}

template <typename state_t, typename bit_t, typename MakeWorker, typename Each>
void for_blocks(const Runs<state_t, bit_t>& runs, const MakeWorker& make_worker, const Each& each) {
  const int64_t width = width_of(runs.num_states) + width_of(runs.num_bits);
  if (width <= 8 && runs.K <= kMostCompared)
    for_blocks_by<Comparison<uint8_t, state_t, bit_t>>(runs, make_worker, each);
  else if (width <= 16 && 2 * runs.K <= kMostCompared)
    for_blocks_by<Comparison<uint16_t, state_t, bit_t>>(runs, make_worker, each);
  else if (width <= 32 && 4 * runs.K <= kMostCompared)
    for_blocks_by<Comparison<uint32_t, state_t, bit_t>>(runs, make_worker, each);
  else if (width <= kDirectWidth)
    for_blocks_by<Counting<true, state_t, bit_t>>(runs, make_worker, each);
  else
    for_blocks_by<Counting<false, state_t, bit_t>>(runs, make_worker, each);
}

// weight[v], such that the estimate is the sum of weight(count) over cells less those over states and bits, plus
// weight(K), over K. For the plug-in it is v ln v. The jackknife's leave-one-out terms, each of a count that is one
// less, add up to the same form with v (v ln v - (v - 1) ln(v - 1)).
std::vector<double> weights(int64_t K, Correction correction) {
  std::vector<double> weight(K + 1, 0.0);
  for (int64_t v = 2; v <= K; ++v) {
    const double x = static_cast<double>(v), log = std::log(x);
    weight[v] = correction == Correction::jackknife ? x * (log - (x - 1) * std::log1p(-1 / x)) : x * log;
  }
  return weight;
}

// Mean of (v / K) ln(K v / (c d)) for v hypergeometric: the overlap of two random sets of c and d runs out of K.
double null_term(int64_t K, int64_t c, int64_t d) {
  const int64_t low = std::max<int64_t>(0, c + d - K), high = std::min(c, d);
  const int64_t mode = std::clamp((c + 1) * (d + 1) / (K + 2), low, high);
  double mass = 0, sum = 0;
  auto add = [&](int64_t v, double p) {
    mass += p;
    if (v > 0) sum += p * v * std::log(static_cast<double>(v) * K / (static_cast<double>(c) * d));
  };
  // Probabilities as multiples of the mode's, which neither overflow nor cancel.
  double p = 1;
  for (int64_t v = mode; v <= high; ++v) {
    add(v, p);
    p *= static_cast<double>(c - v) * (d - v) / (static_cast<double>(v + 1) * (K - c - d + v + 1));
  }
  p = 1;
  for (int64_t v = mode; v > low; --v) {
    p *= static_cast<double>(v) * (K - c - d + v) / (static_cast<double>(c - v + 1) * (d - v + 1));
    add(v - 1, p);
  }
  return sum / (mass * K);
}

double without_rounding(double nats) { return std::abs(nats) < kRounding ? 0 : nats; }

// How many different values sample q has.
int64_t size_of(const std::vector<int32_t>& times, const Spectra& of, int64_t q) {
  int64_t size = 0;
  for (int64_t v = 1; v <= of.K; ++v) size += times[v * of.side + q];
  return size;
}

// The counts of sample q that came, ascending, and how many values have each.
struct Distinct {
  std::vector<std::pair<int64_t, int32_t>> all;

  void take(const std::vector<int32_t>& times, const Spectra& of, int64_t q) {
    all.clear();
    for (int64_t v = 1; v <= of.K; ++v)
      if (times[v * of.side + q] != 0) all.emplace_back(v, times[v * of.side + q]);
  }
};

}  // namespace

template <typename state_t, typename bit_t>
void plugin_mi(const Runs<state_t, bit_t>& runs, Correction correction, double* out) {
  const int64_t K = runs.K;
  const std::vector<double> weight = weights(K, correction);
  // Counts are counted before they meet a weight. So equal ones cancel exactly, and the order of runs, or the names of
  // states, are not in the result's bits.
  for_blocks(
      runs, [](int64_t side) { return std::vector<double>(side); },
      [&](int64_t first, int64_t count, const Spectra& of, std::vector<double>& total) {
        std::fill(total.begin(), total.end(), weight[K]);
        for (int64_t v = 1; v <= K; ++v) {
          const int32_t *cells = &of.cells[v * of.side], *states = &of.states[v * of.side];
          const int32_t* bits = &of.bits[v * of.side];
          for (int64_t q = 0; q < of.side; ++q) total[q] += (cells[q] - states[q] - bits[q]) * weight[v];
        }
        for (int64_t q = 0; q < count; ++q) {
          const double nats = without_rounding(total[q] / static_cast<double>(K));
          const double plugin = nats < 0 ? 0 : nats;  // with very many runs rounding may exceed kRounding
          if (correction == Correction::jackknife) {
            out[first + q] = nats;
          } else if (correction == Correction::none) {
            out[first + q] = plugin;
          } else {
            const int64_t freedom = size_of(of.cells, of, q) - size_of(of.bits, of, q) - size_of(of.states, of, q) + 1;
            out[first + q] = without_rounding(plugin - static_cast<double>(freedom) / static_cast<double>(2 * K));
          }
        }
      });
}

template <typename state_t, typename bit_t>
void null_mean(const Runs<state_t, bit_t>& runs, double* out) {
  struct Worker {
    std::unordered_map<int64_t, double> terms;  // by both counts
    Distinct states, bits;
  };
  for_blocks(
      runs, [](int64_t) { return Worker(); },
      [&](int64_t first, int64_t count, const Spectra& of, Worker& worker) {
        for (int64_t q = 0; q < count; ++q) {
          worker.states.take(of.states, of, q);
          worker.bits.take(of.bits, of, q);
          double total = 0;
          for (const auto& [c, bits] : worker.bits.all)
            for (const auto& [d, states] : worker.states.all) {
              const auto [term, is_new] = worker.terms.try_emplace(c * (runs.K + 1) + d);
              if (is_new) term->second = null_term(runs.K, c, d);
              total += static_cast<double>(bits) * static_cast<double>(states) * term->second;
            }
          out[first + q] = without_rounding(total);
        }
      });
}

template <typename state_t, typename bit_t>
void occupied(const Runs<state_t, bit_t>& runs, int64_t* out) {
  for_blocks(
      runs, [](int64_t) { return 0; },
      [&](int64_t first, int64_t count, const Spectra& of, int) {
        for (int64_t q = 0; q < count; ++q) {
          out[first + q] = size_of(of.cells, of, q);
          out[runs.N + first + q] = size_of(of.bits, of, q);
          out[2 * runs.N + first + q] = size_of(of.states, of, q);
        }
      });
}

#define INFOTORCH_PLUGIN_MI(STATE, BIT)                                      \
  template void plugin_mi(const Runs<STATE, BIT>&, Correction, double* out); \
  template void null_mean(const Runs<STATE, BIT>&, double* out);             \
  template void occupied(const Runs<STATE, BIT>&, int64_t* out);
INFOTORCH_PLUGIN_MI(int32_t, uint8_t)
INFOTORCH_PLUGIN_MI(int64_t, int64_t)

}  // namespace infotorch::cpu
