#include "../project.h"

#include "pair.h"

namespace infotorch {
namespace {

// The k nearest to the one asked for that has factors, the smaller of two.
int64_t nearest_k(int64_t k, int64_t out_features, int64_t in_features) {
  const int64_t most = out_features * std::max<int64_t>(1, in_features);
  for (int64_t away = k > most ? k - most : 1;; ++away)  // 1 has factors
    for (const int64_t near : {k - away, k + away})
      if (near > 0 && near <= most && factor_columns(near, out_features, in_features).O > 0) return near;
}

Sketch check_sketch(const PairShape& s, const PairOptions& options, int64_t k, int64_t seed, const std::string& kind,
                    const std::string& name) {
  INFOTORCH_CHECK(1 <= k && k <= kMostBuckets, "project", "k must be 1 to 2^31", std::to_string(k),
                  "Choose the number of values to keep of each gradient.");
  INFOTORCH_CHECK(kind == "sjlt" || kind == "kron", "project", "kind must be 'sjlt' or 'kron'", "'" + kind + "'",
                  "Leave it out for 'sjlt'.");
  const int64_t in_features = s.I - options.bias;
  if (kind == "kron" && s.O > 0 && s.I > 0 && factor_columns(k, s.O, in_features).O == 0) {
    const std::string must = "k of kind 'kron' must be a product of two factors, one up to O = " + std::to_string(s.O) +
                             " and one up to I = " + std::to_string(std::max<int64_t>(1, in_features));
    fail("project", must, std::to_string(k),
         "Pass k = " + std::to_string(nearest_k(k, s.O, in_features)) + ", the nearest, or kind='sjlt'.");
  }
  const Source source = {static_cast<uint64_t>(seed), hash_of(name.data(), static_cast<int64_t>(name.size()))};
  return {kind == "sjlt" ? ProjectKind::sjlt : ProjectKind::kron, k, source};
}

Tensor project_cpu(const Tensor& a, const Tensor& b, int64_t k, int64_t seed, const std::string& kind,
                   const std::string& name, bool bias, int64_t t_dims, std::optional<int64_t> in_features) {
  const PairOptions options = {bias, t_dims, in_features};
  const PairShape shape = check_pair("project", a, b, options);
  const Sketch sketch = check_sketch(shape, options, k, seed, kind, name);
  Tensor out = new_empty(b, {shape.N, k});
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::project(sketch, shape, a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
    });
  });
  return out;
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "project(Tensor a, Tensor b, int k, int seed, str kind='sjlt', str name='', bool bias=False, int t_dims=1, "
      "int? in_features=None) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) { m.impl("project", TORCH_BOX(&infotorch::project_cpu)); }
