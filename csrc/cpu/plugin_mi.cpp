#include "plugin_mi.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "../parallel.h"

namespace infotorch::cpu {
namespace {

constexpr int64_t kMostSamples = 64;       // whose keys are made together: reads are then whole cache lines
constexpr int64_t kMostKeys = 1 << 16;     // made together, so that they stay in cache
constexpr int64_t kRunsPerTask = 1 << 14;  // keys that outweigh waking a thread
constexpr int64_t kDirectWidth = 17;       // values of so many binary digits are their own slots, others are hashed
constexpr double kRounding = 1e-14;        // nats below which nothing but rounding is left

// Binary digits of the numbers below `end`.
int64_t width_of(int64_t end) {
  int64_t width = 0;
  while (width < 63 && int64_t{1} << width < end) ++width;
  return width;
}

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

  void clear() {
    for (int64_t j = 0; j < size_; ++j) times_[slots_[j]] = 0;
    size_ = 0;
  }

 private:
  static constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio: neighbours land far apart
  std::vector<int64_t> times_;                             // by slot; 0 where none came
  std::vector<uint64_t> owner_, slots_;
  int64_t size_ = 0, shift_;
};

// The counts of one sample's runs: cells are pairs of a state and a bit.
template <bool direct>
struct Tally {
  Counts<direct> cells, states, bits;

  void take(const uint64_t* keys, int64_t K, int64_t bit_width) {
    cells.clear();
    states.clear();
    bits.clear();
    for (int64_t k = 0; k < K; ++k) cells.add(keys[k], 1);
    const uint64_t mask = (uint64_t{1} << bit_width) - 1;
    for (int64_t j = 0; j < cells.size(); ++j) {
      const uint64_t cell = cells.value(j);
      states.add(cell >> bit_width, cells.count(j));
      bits.add(cell & mask, cells.count(j));
    }
  }
};

template <bool direct, typename state_t, typename bit_t, typename MakeWorker, typename Each>
void tally_samples(const Runs<state_t, bit_t>& runs, const MakeWorker& make_worker, const Each& each) {
  struct Thread {
    std::vector<uint64_t> keys;
    Tally<direct> tally;
    decltype(make_worker()) worker;
  };
  const int64_t K = runs.K, N = runs.N, bit_width = width_of(runs.num_bits), state_width = width_of(runs.num_states);
  const int64_t block = std::clamp<int64_t>(kMostKeys / K, 1, kMostSamples);
  const int64_t blocks = (N + block - 1) / block, grain = kRunsPerTask / (block * K) + 1;
  const auto make_thread = [&] {
    return Thread{std::vector<uint64_t>(block * K),
                  {{state_width + bit_width, K}, {state_width, K}, {bit_width, K}},
                  make_worker()};
  };
  parallel_tasks(blocks, grain, make_thread, [&](int64_t p, Thread& thread) {
    const int64_t first = p * block, here = std::min(block, N - first);
    for (int64_t k = 0; k < K; ++k)
      for (int64_t q = 0; q < here; ++q) {
        const int64_t at = k * N + first + q;
        thread.keys[q * K + k] = static_cast<uint64_t>(runs.states[at]) << bit_width | runs.bits[at];
      }
    for (int64_t q = 0; q < here; ++q) {
      thread.tally.take(thread.keys.data() + q * K, K, bit_width);
      each(first + q, thread.tally, thread.worker);
    }
  });
}

// each(n, tally, worker) for every sample, of which every thread makes a worker of its own.
template <typename state_t, typename bit_t, typename MakeWorker, typename Each>
void for_samples(const Runs<state_t, bit_t>& runs, const MakeWorker& make_worker, const Each& each) {
  if (width_of(runs.num_states) + width_of(runs.num_bits) <= kDirectWidth)
    tally_samples<true>(runs, make_worker, each);
  else
    tally_samples<false>(runs, make_worker, each);
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

}  // namespace

template <typename state_t, typename bit_t>
void plugin_mi(const Runs<state_t, bit_t>& runs, Correction correction, double* out) {
  const int64_t K = runs.K;
  const std::vector<double> weight = weights(K, correction);
  // Counts are counted before they meet a weight. So equal ones cancel exactly, and the order of runs, or the names of
  // states, are not in the result's bits.
  for_samples(
      runs, [&] { return std::vector<int64_t>(K + 1); },
      [&](int64_t n, const auto& tally, std::vector<int64_t>& times) {
        for (int64_t j = 0; j < tally.cells.size(); ++j) ++times[tally.cells.count(j)];
        for (int64_t j = 0; j < tally.states.size(); ++j) --times[tally.states.count(j)];
        for (int64_t j = 0; j < tally.bits.size(); ++j) --times[tally.bits.count(j)];
        ++times[K];
        double total = 0;
        for (int64_t v = 1; v <= K; ++v) {
          total += static_cast<double>(times[v]) * weight[v];
          times[v] = 0;
        }
        const double nats = without_rounding(total / static_cast<double>(K));
        if (correction == Correction::jackknife) {
          out[n] = nats;
          return;
        }
        const double plugin = nats < 0 ? 0 : nats;  // with very many runs rounding may exceed kRounding
        const int64_t freedom = tally.cells.size() - tally.bits.size() - tally.states.size() + 1;
        const double excess = static_cast<double>(freedom) / static_cast<double>(2 * K);
        out[n] = correction == Correction::none ? plugin : without_rounding(plugin - excess);
      });
}

template <typename state_t, typename bit_t>
void null_mean(const Runs<state_t, bit_t>& runs, double* out) {
  const int64_t K = runs.K;
  struct Worker {
    std::unordered_map<int64_t, double> terms;  // by both counts
    std::vector<int64_t> states, bits;
  };
  for_samples(
      runs, [] { return Worker(); },
      [&](int64_t n, const auto& tally, Worker& worker) {
        worker.states.clear();
        worker.bits.clear();
        for (int64_t j = 0; j < tally.states.size(); ++j) worker.states.push_back(tally.states.count(j));
        for (int64_t j = 0; j < tally.bits.size(); ++j) worker.bits.push_back(tally.bits.count(j));
        std::sort(worker.states.begin(), worker.states.end());  // else the order of runs would be in the sum's bits
        std::sort(worker.bits.begin(), worker.bits.end());
        double total = 0;
        for (const int64_t c : worker.bits)
          for (size_t s = 0, next; s < worker.states.size(); s = next) {
            const int64_t d = worker.states[s];
            for (next = s; next < worker.states.size() && worker.states[next] == d;) ++next;
            const auto [term, is_new] = worker.terms.try_emplace(c * (K + 1) + d);
            if (is_new) term->second = null_term(K, c, d);
            total += static_cast<double>(next - s) * term->second;
          }
        out[n] = without_rounding(total);
      });
}

template <typename state_t, typename bit_t>
void occupied(const Runs<state_t, bit_t>& runs, int64_t* out) {
  for_samples(
      runs, [] { return 0; },
      [&](int64_t n, const auto& tally, int) {
        out[n] = tally.cells.size();
        out[runs.N + n] = tally.bits.size();
        out[2 * runs.N + n] = tally.states.size();
      });
}

#define INFOTORCH_PLUGIN_MI(STATE, BIT)                                      \
  template void plugin_mi(const Runs<STATE, BIT>&, Correction, double* out); \
  template void null_mean(const Runs<STATE, BIT>&, double* out);             \
  template void occupied(const Runs<STATE, BIT>&, int64_t* out);
INFOTORCH_PLUGIN_MI(int32_t, uint8_t)
INFOTORCH_PLUGIN_MI(int64_t, int64_t)

}  // namespace infotorch::cpu
