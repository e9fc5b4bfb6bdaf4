#include "../gram.h"

#include "pair.h"

namespace infotorch {
namespace {

std::string size_text(const PairShape& s) { return "O = " + std::to_string(s.O) + ", I = " + std::to_string(s.I); }

template <typename scalar_t, typename Side>
Samples<scalar_t, Side> samples_of(const PairShape& shape, const Side& a, const Rows<scalar_t>& b) {
  return {shape, a, b};
}

// The arguments of a call, checked.
struct Call {
  const Tensor &a, &b;
  const Tensor &a2, &b2;  // a and b again where the second set is left out
  bool symmetric;
  PairOptions options;
  PairShape x, y;
  GramMethod method;

  Call(const Tensor& a, const Tensor& b, const std::optional<Tensor>& a2, const std::optional<Tensor>& b2,
       const PairOptions& options, const std::string& name,
       GramMethod (*choose)(const PairShape&, const PairShape&, bool))
      : a(a),
        b(b),
        a2(a2 ? *a2 : a),
        b2(b2 ? *b2 : b),
        symmetric(!a2),
        options(options),
        x(check_pair("gram", a, b, options)) {
    INFOTORCH_CHECK(a2.has_value() == b2.has_value(), "gram", "a2 and b2 must come together",
                    a2 ? "a2 alone" : "b2 alone", "Pass both, or neither for the symmetric case.");
    y = symmetric ? x : check_pair("gram", this->a2, this->b2, options);
    INFOTORCH_CHECK(x.I == y.I && x.O == y.O, "gram", "both sets must agree on I and O",
                    size_text(x) + " and " + size_text(y), "Capture both from one layer.");
    INFOTORCH_CHECK(b.scalar_type() == this->b2.scalar_type(), "gram", "both sets must have one dtype",
                    dtype_text(b) + " and " + dtype_text(this->b2), "Convert one with .to(dtype).");
    check_device("gram", this->b2, b);
    method = choice<GramMethod>(
        "gram", "method",
        {{"auto", choose(x, y, symmetric)}, {"gram", GramMethod::gram}, {"materialize", GramMethod::materialize}},
        name);
  }

  void write_cpu(Tensor& out) const {
    for_samples([&](const auto& left, const auto& right, auto* to) { cpu::gram(method, left, right, symmetric, to); },
                out);
  }

  // Runs body(Samples, Samples, out's numbers).
  template <typename Body>
  void for_samples(const Body& body, Tensor& out) const {
    for_dtype(b.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      const auto both = [&](const auto& left, const auto& right) {
        if constexpr (std::is_same_v<decltype(left), decltype(right)>)  // the options decide both
          body(left, right, static_cast<scalar_t*>(out.data_ptr()));
      };
      for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
        for_pair<scalar_t>(a2, b2, options, [&](const auto& a2_side, const Rows<scalar_t>& b2_side) {
          both(samples_of(x, a_side, b_side), samples_of(y, a2_side, b2_side));
        });
      });
    });
  }

#ifdef INFOTORCH_CUDA
  void write_cuda(bool tf32, Tensor& out) const {
    Gpu gpu("gram", b);
    const bool one_hot = options.in_features.has_value();
    for_samples(
        [&](const auto& left, const auto& right, auto* to) {
          char* const scratch = gpu.scratch<char>(cuda::gram_scratch(method, x, y, symmetric, one_hot, sizeof(*to)));
          gpu.check(cuda::gram(method, left, right, symmetric, tf32, scratch, to, gpu.stream()));
        },
        out);
  }
#endif
};

Tensor gram_cpu(const Tensor& a, const Tensor& b, std::optional<Tensor> a2, std::optional<Tensor> b2, bool bias,
                int64_t t_dims, std::optional<int64_t> in_features, const std::string& method, bool) {
  const Call call(a, b, a2, b2, {bias, t_dims, in_features}, method, cpu::choose_gram_method);
  Tensor out = new_result("gram", b, {call.x.N, call.y.N});
  call.write_cpu(out);
  return out;
}

void gram_out_cpu(const Tensor& a, const Tensor& b, std::optional<Tensor> a2, std::optional<Tensor> b2, bool bias,
                  int64_t t_dims, std::optional<int64_t> in_features, const std::string& method, bool, Tensor out) {
  const Call call(a, b, a2, b2, {bias, t_dims, in_features}, method, cpu::choose_gram_method);
  check_out("gram", out, b, {call.x.N, call.y.N}, {&a, &b, &call.a2, &call.b2});
  call.write_cpu(out);
}

#ifdef INFOTORCH_CUDA
Tensor gram_cuda(const Tensor& a, const Tensor& b, std::optional<Tensor> a2, std::optional<Tensor> b2, bool bias,
                 int64_t t_dims, std::optional<int64_t> in_features, const std::string& method, bool tf32) {
  const Call call(a, b, a2, b2, {bias, t_dims, in_features}, method, cuda::choose_gram_method);
  Tensor out = new_result("gram", b, {call.x.N, call.y.N});
  call.write_cuda(tf32, out);
  return out;
}

void gram_out_cuda(const Tensor& a, const Tensor& b, std::optional<Tensor> a2, std::optional<Tensor> b2, bool bias,
                   int64_t t_dims, std::optional<int64_t> in_features, const std::string& method, bool tf32,
                   Tensor out) {
  const Call call(a, b, a2, b2, {bias, t_dims, in_features}, method, cuda::choose_gram_method);
  check_out("gram", out, b, {call.x.N, call.y.N}, {&a, &b, &call.a2, &call.b2});
  call.write_cuda(tf32, out);
}
#endif

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "gram(Tensor a, Tensor b, Tensor? a2=None, Tensor? b2=None, bool bias=False, int t_dims=1, "
      "int? in_features=None, str method='auto', bool tf32=False) -> Tensor");
  m.def(
      "gram.out(Tensor a, Tensor b, Tensor? a2, Tensor? b2, bool bias, int t_dims, int? in_features, str method, "
      "bool tf32, *, Tensor(a!) out) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) {
  m.impl("gram", TORCH_BOX(&infotorch::gram_cpu));
  m.impl("gram.out", TORCH_BOX(&infotorch::gram_out_cpu));
}
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) {
  m.impl("gram", TORCH_BOX(&infotorch::gram_cuda));
  m.impl("gram.out", TORCH_BOX(&infotorch::gram_out_cuda));
}
#endif
