// project: out[n] = a linear sketch of G[n] in k numbers, with E<out[n], out[m]> = <G[n], G[m]>. Plain C++; no torch.
#pragma once

#include <algorithm>
#include <cmath>

#include "pair.h"
#include "philox.h"

namespace infotorch {

//   sjlt  out[n, bucket(j)] += sign(j) G[n, j] over all elements j, which philox.h numbers
//   kron  out[n, p k_I + q] = sum_{o,i} R_O[o, p] G[n, o, i] R_I[i, q] / sqrt(k), both factors of normal numbers
enum class ProjectKind { sjlt, kron };

struct Sketch {
  ProjectKind kind;
  int64_t k;
  Source source;
};

constexpr int64_t kMostBuckets = int64_t{1} << 31;

// Columns of the factors of a kron sketch.
struct FactorColumns {
  int64_t O, I;  // O I = k, or 0 both if there are none
};

// The divisors of k nearest to each other with O <= out_features and I <= in_features, the larger one on the side with
// more features (on I if both have as many). in_features does not count the bias, so that it changes no other sketch;
// where there is nothing but a bias, it counts as 1.
inline FactorColumns factor_columns(int64_t k, int64_t out_features, int64_t in_features) {
  in_features = std::max<int64_t>(1, in_features);
  const bool tall = out_features > in_features;
  const int64_t few = tall ? in_features : out_features, many = tall ? out_features : in_features;
  for (auto large = static_cast<int64_t>(std::sqrt(static_cast<double>(k))); large <= std::min(many, k); ++large) {
    const int64_t small = large > 0 && k % large == 0 ? k / large : 0;
    if (0 < small && small <= large && small <= few)
      return tall ? FactorColumns{large, small} : FactorColumns{small, large};
  }
  return {0, 0};
}

namespace cpu {

// a [N, *T, *I] or one-hot [N, T], b [N, T, O] as they lie -> out [N, k].
template <typename scalar_t>
void project(const Sketch& sketch, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
             scalar_t* out);
template <typename scalar_t>
void project(const Sketch& sketch, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, scalar_t* out);

// out [N, seeds, k] += the sjlt sketches under several seeds that share a's rows, b [N * seeds, T, O].
template <typename scalar_t>
void add_projections(const Sketch& sketch, const PairShape& shape, int64_t seeds, const Rows<scalar_t>& a,
                     const Rows<scalar_t>& b, scalar_t* out);
template <typename scalar_t>
void add_projections(const Sketch& sketch, const PairShape& shape, int64_t seeds, const Ids& a, const Rows<scalar_t>& b,
                     scalar_t* out);

}  // namespace cpu

namespace cuda {

// Bytes of device memory that project needs for its work, 64 MiB or little more.
template <typename scalar_t>
int64_t project_bytes(const Sketch& sketch, const PairShape& shape, const Rows<scalar_t>& a);
template <typename scalar_t>
int64_t project_bytes(const Sketch& sketch, const PairShape& shape, const Ids& a);

// As on the CPU, with device pointers, on `stream`; nothing is allocated or waited for. The words are the CPU's, the
// sums and the factors of a kron sketch theirs up to rounding. nullptr, or what the CUDA runtime said.
template <typename scalar_t>
const char* project(const Sketch& sketch, const PairShape& shape, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                    void* scratch, scalar_t* out, void* stream);
template <typename scalar_t>
const char* project(const Sketch& sketch, const PairShape& shape, const Ids& a, const Rows<scalar_t>& b, void* scratch,
                    scalar_t* out, void* stream);

}  // namespace cuda
}  // namespace infotorch
