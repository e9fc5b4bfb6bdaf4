#include "../fisher.h"

#include "pair.h"

namespace infotorch {
namespace {

// The arguments of a call, checked.
struct Call {
  const Tensor &a, &b;
  PairOptions options;
  PairShape shape;
  FisherForm form;
  int64_t rows, cols;  // of the result

  Call(const Tensor& a, const Tensor& b, const PairOptions& options, const std::string& name)
      : a(a), b(b), options(options), shape(check_pair("fisher", a, b, options)) {
    INFOTORCH_CHECK(name == "diagonal" || name == "full", "fisher", "form must be 'diagonal' or 'full'",
                    "'" + name + "'", "Leave it out for 'diagonal'.");
    form = name == "full" ? FisherForm::full : FisherForm::diagonal;
    rows = form == FisherForm::full ? shape.O * shape.I : shape.O;
    cols = form == FisherForm::full ? rows : shape.I;
  }

  void write(Tensor& out) const {
    for_dtype(out.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
        cpu::fisher(form, shape, a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
      });
    });
  }
};

Tensor fisher_cpu(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                  const std::string& form) {
  const Call call(a, b, {bias, t_dims, in_features}, form);
  Tensor out = new_empty(b, {call.rows, call.cols});
  call.write(out);
  return out;
}

void fisher_out_cpu(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                    const std::string& form, Tensor out) {
  const Call call(a, b, {bias, t_dims, in_features}, form);
  check_out("fisher", out, b, {call.rows, call.cols});
  call.write(out);
}

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "fisher(Tensor a, Tensor b, bool bias=False, int t_dims=1, int? in_features=None, str form='diagonal') -> "
      "Tensor");
  m.def("fisher.out(Tensor a, Tensor b, bool bias, int t_dims, int? in_features, str form, *, Tensor(a!) out) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) {
  m.impl("fisher", TORCH_BOX(&infotorch::fisher_cpu));
  m.impl("fisher.out", TORCH_BOX(&infotorch::fisher_out_cpu));
}
