// Plug-in information between a sample's state (what a run predicted on its pair) and its bit (which column was trained
// on), over the runs. See infotorch/bounds/theory/information.py for the formulas.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// What K runs showed of N samples: [K, N] each, contiguous. 0 <= state < num_states and 0 <= bit < num_bits, of which
// both fit into one number of 63 bits.
template <typename state_t, typename bit_t>
struct Runs {
  int64_t K, N, num_states, num_bits;
  const state_t* states;
  const bit_t* bits;
};

enum class Correction { none, miller_madow, jackknife };

// out[n]: nats, for int32 states with uint8 bits, and int64 with int64.
template <typename state_t, typename bit_t>
void plugin_mi(const Runs<state_t, bit_t>& runs, Correction correction, double* out);

// out[n]: the mean plug-in over all permutations of the bits.
template <typename state_t, typename bit_t>
void null_mean(const Runs<state_t, bit_t>& runs, double* out);

// out[0, n], out[1, n], out[2, n]: numbers of different (state, bit), bits and states.
template <typename state_t, typename bit_t>
void occupied(const Runs<state_t, bit_t>& runs, int64_t* out);

}  // namespace infotorch::cpu
