#include "one_hot.h"

namespace infotorch::cpu {
namespace {

struct Lookup {
  int64_t column, position;
};

// By column, where positions increase already: one digit after the other, the lowest first.
void sort(std::vector<Lookup>& lookups, int64_t columns) {
  constexpr int bits = 8, digits = 1 << bits;
  std::vector<Lookup> sorted(lookups.size());
  for (int shift = 0; (columns - 1) >> shift; shift += bits) {
    const auto digit = [&](const Lookup& x) { return x.column >> shift & (digits - 1); };
    int64_t next[digits + 1] = {};
    for (const Lookup& x : lookups) ++next[digit(x) + 1];
    for (int d = 0; d < digits; ++d) next[d + 1] += next[d];
    for (const Lookup& x : lookups) sorted[next[digit(x)]++] = x;
    lookups.swap(sorted);
  }
}

}  // namespace

Lookups::Lookups(const PairShape& s, const Ids& ids, int64_t n0, int64_t N) {
  const int64_t count = N * s.T;
  std::vector<Lookup> lookups(count);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t t = 0; t < s.T; ++t)
      lookups[n * s.T + t] = {ids.data[(n0 + n) * ids.n_stride + t * ids.t_stride], n * s.T + t};
  sort(lookups, s.I);
  position.reserve(ids.bias ? 2 * count : count);
  for (const Lookup& x : lookups) {
    if (column.empty() || column.back() != x.column) {
      column.push_back(x.column);
      first.push_back(static_cast<int64_t>(position.size()));
    }
    position.push_back(x.position);
  }
  if (ids.bias && count > 0) {
    column.push_back(s.I - 1);
    first.push_back(count);
    for (int64_t p = 0; p < count; ++p) position.push_back(p);
  }
  first.push_back(static_cast<int64_t>(position.size()));
}

}  // namespace infotorch::cpu
