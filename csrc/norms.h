// norms: out[n] = ||G[n]||_F^2, the squared gradient norm of each sample. Plain C++; no torch.
#pragma once

#include <algorithm>

#include "cuda/tiles.h"
#include "pair.h"

namespace infotorch {

// Two orders of the same sum.
//   gram         sum_{t,s} <a_t, a_s> <b_t, b_s>    never forms G; cheap while T is small
//   materialize  sum_{o,i} (sum_t b_to a_ti)^2      forms G tile by tile; cheap while O and I are small
enum class NormsMethod { gram, materialize };

// Multiply-adds for one sample.
inline int64_t norms_cost(NormsMethod method, const PairShape& s) {
  return method == NormsMethod::gram ? s.T * (s.T + 1) / 2 * (s.I + s.O) : (s.T + 1) * s.I * s.O;
}

namespace cpu {

// How much dearer a multiply-add of the gram form is, as benchmarks/ops/norms.py measured.
constexpr double kNormsGramWeight = 1.5;

// A function of the shape alone, so that equal shapes take equal routes.
inline NormsMethod choose_norms_method(const PairShape& s) {
  const double gram = kNormsGramWeight * norms_cost(NormsMethod::gram, s);
  return gram <= norms_cost(NormsMethod::materialize, s) ? NormsMethod::gram : NormsMethod::materialize;
}

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> out [N]. A one-hot a has one route.
template <typename scalar_t>
void norms(NormsMethod method, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out);
template <typename scalar_t>
void norms(NormsMethod method, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out);

}  // namespace cpu

namespace cuda {

// Up to so many positions a sample is read once and multiplied in registers, whatever it costs otherwise.
constexpr int64_t kFewPositions = 4;

inline Tiling norms_tiling(NormsMethod method, const PairShape& s, int64_t bytes) {
  return method == NormsMethod::gram ? triangle(s.T, edge_of(s.T, bytes))
                                     : tiling(s.O, s.I, edge_of(std::min(s.O, s.I), bytes));
}

// A function of the shape alone. Both forms run the same products, so what counts is how much they multiply, whole
// tiles included.
inline NormsMethod choose_norms_method(const PairShape& s) {
  if (s.T <= kFewPositions) return NormsMethod::gram;
  const double gram = norms_tiling(NormsMethod::gram, s, sizeof(float)).work() * (s.I + s.O);
  const double materialize = norms_tiling(NormsMethod::materialize, s, sizeof(float)).work() * s.T;
  return gram <= materialize ? NormsMethod::gram : NormsMethod::materialize;
}

// How many doubles `partial` must hold, for results of so many bytes. One-hot inputs take the gram form, whatever the
// method is.
int64_t norms_partials(NormsMethod method, const PairShape& shape, bool one_hot, int64_t bytes);

// As on the CPU, with device pointers, on `stream`; nothing is allocated or waited for. `tf32` allows products of
// float32 numbers that are rounded to tf32. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* norms(NormsMethod method, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                  bool tf32, double* partial, scalar_t* out, void* stream);
template <typename scalar_t>
const char* norms(NormsMethod method, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, bool tf32,
                  double* partial, scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
