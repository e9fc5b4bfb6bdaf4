#include "../project.h"

#include <algorithm>

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
  const auto chosen =
      choice<ProjectKind>("project", "kind", {{"sjlt", ProjectKind::sjlt}, {"kron", ProjectKind::kron}}, kind);
  const int64_t in_features = s.I - options.bias;
  if (chosen == ProjectKind::kron && s.O > 0 && s.I > 0 && factor_columns(k, s.O, in_features).O == 0) {
    const std::string must = "k of kind 'kron' must be a product of two factors, one up to O = " + std::to_string(s.O) +
                             " and one up to I = " + std::to_string(std::max<int64_t>(1, in_features));
    fail("project", must, std::to_string(k),
         "Pass k = " + std::to_string(nearest_k(k, s.O, in_features)) + ", the nearest, or kind='sjlt'.");
  }
  const Source source = {static_cast<uint64_t>(seed), hash_of(name.data(), static_cast<int64_t>(name.size()))};
  return {chosen, k, source};
}

// The arguments of a call, checked.
struct Call {
  const Tensor &a, &b;
  PairOptions options;
  PairShape shape;
  Sketch sketch;

  Call(const Tensor& a, const Tensor& b, const PairOptions& options, int64_t k, int64_t seed, const std::string& kind,
       const std::string& name)
      : a(a),
        b(b),
        options(options),
        shape(check_pair("project", a, b, options)),
        sketch(check_sketch(shape, options, k, seed, kind, name)) {}

  // Runs body(a's Rows or Ids, b's Rows, out's numbers), and returns out.
  template <typename Body>
  Tensor sketched(const Body& body) const {
    Tensor out = new_result("project", b, {shape.N, sketch.k});
    for_dtype(b.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
        body(a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
      });
    });
    return out;
  }
};

// One seed's [N, T, O] of b [N, K, T, O].
Tensor seed_of(const Tensor& b, int64_t seed) {
  const int64_t at = b.size(1) > 0 ? seed * b.stride(1) : 0;
  return as_strided(b, {b.size(0), b.size(2), b.size(3)}, {b.stride(0), b.stride(2), b.stride(3)}, at);
}

// All of them as samples, [N * K, T, O], if one stride walks through both.
Tensor all_seeds(const Tensor& b) {
  const int64_t stride = b.size(1) == 1 ? b.stride(0) : b.stride(1);
  return as_strided(b, {b.size(0) * b.size(1), b.size(2), b.size(3)}, {stride, b.stride(2), b.stride(3)});
}

Tensor project_cpu(const Tensor& a, const Tensor& b, int64_t k, int64_t seed, const std::string& kind,
                   const std::string& name, bool bias, int64_t t_dims, std::optional<int64_t> in_features) {
  const Call call(a, b, {bias, t_dims, in_features}, k, seed, kind, name);
  return call.sketched([&](const auto& a_side, const auto& b_side, auto* out) {
    cpu::project(call.sketch, call.shape, a_side, b_side, out);
  });
}

// out [N, K, k] += the sjlt sketches under K seeds, b [N, K, T, O].
void add_projections_cpu(const Tensor& a, const Tensor& b, int64_t seed, const std::string& name, int64_t t_dims,
                         std::optional<int64_t> in_features, Tensor out) {
  INFOTORCH_CHECK(b.dim() == 4 && out.dim() == 3, "project", "b must be [N, K, T, O] and out [N, K, k]",
                  "b " + shape_text(b) + " and out " + shape_text(out), "Insert the K axis with unsqueeze(1).");
  const PairOptions options = {false, t_dims, in_features};
  const int64_t seeds = b.size(1), k = out.size(2);
  const PairShape s = check_pair("project", a, seed_of(b, 0), options);
  const Sketch sketch = check_sketch(s, options, k, seed, "sjlt", name);
  check_out("project", out, b, {s.N, seeds, k}, {&a, &b});
  const Tensor rows = s.N == 1 || seeds == 1 || b.stride(0) == seeds * b.stride(1) ? b : as_contiguous(b);
  for_dtype(b.scalar_type(), [&](auto zero) {
    using scalar_t = decltype(zero);
    for_pair<scalar_t>(a, all_seeds(rows), options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
      cpu::add_projections(sketch, s, seeds, a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
    });
  });
}

#ifdef INFOTORCH_CUDA
Tensor project_cuda(const Tensor& a, const Tensor& b, int64_t k, int64_t seed, const std::string& kind,
                    const std::string& name, bool bias, int64_t t_dims, std::optional<int64_t> in_features) {
  const Call call(a, b, {bias, t_dims, in_features}, k, seed, kind, name);
  Gpu gpu("project", b);
  return call.sketched([&](const auto& a_side, const auto& b_side, auto* out) {
    using scalar_t = std::decay_t<decltype(*out)>;
    char* const scratch = gpu.scratch<char>(cuda::project_bytes<scalar_t>(call.sketch, call.shape, a_side));
    gpu.check(cuda::project(call.sketch, call.shape, a_side, b_side, scratch, out, gpu.stream()));
  });
}
#endif

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "project(Tensor a, Tensor b, int k, int seed, str kind='sjlt', str name='', bool bias=False, int t_dims=1, "
      "int? in_features=None) -> Tensor");
  m.def("project.add(Tensor a, Tensor b, int seed, str name, int t_dims, int? in_features, *, Tensor(a!) out) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) {
  m.impl("project", TORCH_BOX(&infotorch::project_cpu));
  m.impl("project.add", TORCH_BOX(&infotorch::add_projections_cpu));
}
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) { m.impl("project", TORCH_BOX(&infotorch::project_cuda)); }
#endif
