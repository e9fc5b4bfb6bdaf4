// How often values repeat among a sample's runs, by comparing all pairs of runs: for few runs that is less work than
// any table, as samples lie side by side in a register, and nothing depends on what the values are.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

constexpr int64_t kSide = 64;  // samples side by side

// Numbers of scratch for K runs.
inline int64_t spectrum_scratch(int64_t K) { return (2 * K + 2) * kSide; }

// times[v, q] = how many different values came exactly v times among keys[k, q], k < K; 1 <= v <= K. K < 256 for
// uint8, 65536 for uint16.
void spectrum(const uint8_t* keys, int64_t K, uint8_t* scratch, int32_t* times);
void spectrum(const uint16_t* keys, int64_t K, uint16_t* scratch, int32_t* times);
void spectrum(const uint32_t* keys, int64_t K, uint32_t* scratch, int32_t* times);

}  // namespace infotorch::cpu
