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
    form = choice<FisherForm>("fisher", "form", {{"diagonal", FisherForm::diagonal}, {"full", FisherForm::full}}, name);
    rows = form == FisherForm::full ? shape.O * shape.I : shape.O;
    cols = form == FisherForm::full ? rows : shape.I;
  }

  void write(Tensor& out) const {
#ifdef INFOTORCH_CUDA
    if (b.is_cuda()) return write_cuda(out);
#endif
    for_dtype(out.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
        cpu::fisher(form, shape, a_side, b_side, static_cast<scalar_t*>(out.data_ptr()));
      });
    });
  }

#ifdef INFOTORCH_CUDA
  void write_cuda(Tensor& out) const {
    Gpu gpu("fisher", b);
    for_dtype(out.scalar_type(), [&](auto zero) {
      using scalar_t = decltype(zero);
      const int64_t bytes = cuda::fisher_scratch(form, shape, sizeof(scalar_t), options.in_features.has_value());
      char* const scratch = gpu.scratch<char>(bytes);
      for_pair<scalar_t>(a, b, options, [&](const auto& a_side, const Rows<scalar_t>& b_side) {
        gpu.check(
            cuda::fisher(form, shape, a_side, b_side, scratch, static_cast<scalar_t*>(out.data_ptr()), gpu.stream()));
      });
    });
  }
#endif
};

Tensor fisher(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
              const std::string& form) {
  const Call call(a, b, {bias, t_dims, in_features}, form);
  Tensor out = new_result("fisher", b, {call.rows, call.cols});
  call.write(out);
  return out;
}

void fisher_out(const Tensor& a, const Tensor& b, bool bias, int64_t t_dims, std::optional<int64_t> in_features,
                const std::string& form, Tensor out) {
  const Call call(a, b, {bias, t_dims, in_features}, form);
  check_out("fisher", out, b, {call.rows, call.cols}, {&a, &b});
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
  m.impl("fisher", TORCH_BOX(&infotorch::fisher));
  m.impl("fisher.out", TORCH_BOX(&infotorch::fisher_out));
}
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) {
  m.impl("fisher", TORCH_BOX(&infotorch::fisher));
  m.impl("fisher.out", TORCH_BOX(&infotorch::fisher_out));
}
#endif
