#include "../limit.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "storage.h"

namespace infotorch {
namespace {

// inject, aux_grad, sample [N, C]; match, pen, ce, dist, valid, top, aux_top [N]. All leading axes are one.
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

std::string number_text(double x) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", x);
  return text;
}

bool same_sizes(const Tensor& x, const Tensor& like, int64_t dims) {
  bool same = x.dim() == dims;
  for (int64_t d = 0; same && d < dims; ++d) same = x.size(d) == like.size(d);
  return same;
}

LimitMatch match_of(const std::string& where, const std::string& q) {
  INFOTORCH_CHECK(q == "gaussian" || q == "laplace" || q == "ce", where, "q must be 'gaussian', 'laplace' or 'ce'",
                  "'" + q + "'", "Leave it out for 'gaussian'.");
  return q == "gaussian" ? LimitMatch::gaussian : q == "laplace" ? LimitMatch::laplace : LimitMatch::ce;
}

// The arguments of a call, checked, and in one piece of memory each.
class Call {
 public:
  Call(const std::string& where, const Tensor& logits, const Tensor& aux_logits, const Tensor& target,
       const std::string& q, double beta, const std::optional<Tensor>& weight, const std::optional<Tensor>& pos_weight,
       double smoothing, int64_t ignore_index, const std::optional<Tensor>& mask, std::optional<double> lam,
       const std::optional<Tensor>& ids, int64_t seed, int64_t step)
      : where_(where) {
    INFOTORCH_CHECK(is_float(logits), where, "logits must be float64, float32, bfloat16 or float16", dtype_text(logits),
                    "Convert with logits.float().");
    INFOTORCH_CHECK(logits.dim() > 0, where, "logits must be [N], or [..., C] with the classes last", "a number",
                    "Add an axis with logits[None].");
    INFOTORCH_CHECK(same_sizes(aux_logits, logits, logits.dim()), where, "logits and aux_logits must have one shape",
                    shape_text(logits) + " and " + shape_text(aux_logits),
                    "Give the auxiliary network the classifier's number of outputs.");
    INFOTORCH_CHECK(aux_logits.scalar_type() == logits.scalar_type(), where,
                    "logits and aux_logits must have one dtype", dtype_text(logits) + " and " + dtype_text(aux_logits),
                    "Convert one with .to(dtype).");
    leading_ = std::max<int64_t>(1, logits.dim() - 1);
    C_ = logits.dim() == 1 ? 1 : logits.size(logits.dim() - 1);
    INFOTORCH_CHECK(C_ > 0, where, "logits must have a class", shape_text(logits), "Put the axis of classes last.");
    for (int64_t d = 0; d < leading_; ++d) N_ *= logits.size(d);
    for (const Tensor& x : {aux_logits, target, weight.value_or(logits), pos_weight.value_or(logits),
                            mask.value_or(logits), ids.value_or(logits)})
      INFOTORCH_CHECK(same_device(x, logits), where, "all tensors must be on one device",
                      device_text(logits) + " and " + device_text(x), "Move one with .to(device).");
    logits_ = as_contiguous(logits);
    aux_logits_ = as_contiguous(aux_logits);
    INFOTORCH_CHECK(N_ == 0 || logits_.data_ptr() != aux_logits_.data_ptr(), where,
                    "aux_logits must come from another network than logits", "the same tensor",
                    "The predicted gradient would be zero; build a separate auxiliary network.");
    take_target(target, ignore_index, mask);
    take_weight(weight, pos_weight);
    options_ = {match_of(where, q), beta, smoothing, ignore_index, {}, 1};
    INFOTORCH_CHECK(beta >= 0 && std::isfinite(beta), where, "beta must be a number from 0 on", number_text(beta),
                    "It weighs the squared norm of the predicted gradient.");
    INFOTORCH_CHECK(0 <= smoothing && smoothing < 1, where, "label_smoothing must lie in [0, 1)",
                    number_text(smoothing), "Leave it out for none.");
    take_noise(lam, ids, seed, step);
  }

  const Tensor& logits() const { return logits_; }

  // Runs kernel(options, rows) on rows whose results are allocated, and returns these.
  template <typename scalar_t, typename Kernel>
  Results run(const Kernel& kernel) const {
    const auto dtype = logits_.scalar_type();
    const auto numbers = [&] { return new_empty(logits_, {N_, C_}, dtype); };
    const auto row_numbers = [&] { return new_empty(logits_, {N_}); };
    const bool draws = options_.noise.ids != nullptr;
    Results out = {numbers(),
                   numbers(),
                   draws ? numbers() : new_empty(logits_, {0}, dtype),
                   row_numbers(),
                   row_numbers(),
                   row_numbers(),
                   row_numbers(),
                   new_empty(logits_, {N_}, ScalarType::Bool),
                   new_empty(logits_, {N_}, ScalarType::Long),
                   new_empty(logits_, {N_}, ScalarType::Long)};
    const auto of = [](Tensor& x) { return static_cast<scalar_t*>(x.data_ptr()); };
    auto& [inject, aux_grad, sample, match, pen, ce, dist, valid, top, aux_top] = out;
    if (N_ == 0) return out;
    kernel(options_,
           LimitRows<scalar_t>{N_, C_, storage_of(logits_), logits_.data_ptr(), aux_logits_.data_ptr(),
                               soft_ ? nullptr : static_cast<const int64_t*>(target_.data_ptr()),
                               soft_ ? static_cast<const scalar_t*>(target_.data_ptr()) : nullptr,
                               weight_ ? static_cast<const scalar_t*>(weight_->data_ptr()) : nullptr,
                               mask_ ? static_cast<const bool*>(mask_->data_ptr()) : nullptr, inject.data_ptr(),
                               aux_grad.data_ptr(), draws ? sample.data_ptr() : nullptr, of(match), of(pen), of(ce),
                               of(dist), static_cast<bool*>(valid.data_ptr()), static_cast<int64_t*>(top.data_ptr()),
                               static_cast<int64_t*>(aux_top.data_ptr())});
    if (soft_ && logits_.is_cpu()) check_soft(of(match));
    return out;
  }

 private:
  void take_target(const Tensor& target, int64_t ignore_index, const std::optional<Tensor>& mask) {
    const Tensor& logits = logits_;
    soft_ = target.scalar_type() != ScalarType::Long;
    const bool beside = same_sizes(target, logits, logits.dim());
    const bool of_rows = same_sizes(target, logits, leading_);
    const std::string sizes = shape_text(target) + " beside logits " + shape_text(logits);
    if (soft_) {
      INFOTORCH_CHECK(target.scalar_type() == logits.scalar_type() || target.scalar_type() == result_dtype(logits),
                      where_, "target must be int64 labels, or class probabilities of logits' dtype",
                      dtype_text(target) + " beside " + dtype_text(logits),
                      "Convert with .long() or .to(logits.dtype).");
      INFOTORCH_CHECK(beside || (C_ == 1 && of_rows), where_,
                      "a target that isn't int64 must hold a probability for every logit", sizes,
                      "Convert labels with target.long().");
    } else {
      INFOTORCH_CHECK(of_rows || (C_ == 1 && beside), where_, "target must have a label for every row of logits", sizes,
                      "Put the axis of classes last.");
    }
    target_ = as_contiguous(soft_ ? to_result_dtype(target) : target);
    if (mask) {
      INFOTORCH_CHECK(mask->scalar_type() == ScalarType::Bool && same_sizes(*mask, logits, leading_), where_,
                      "mask must be bool, with a value for every row of logits",
                      dtype_text(*mask) + " " + shape_text(*mask), "It is true where a row counts.");
      mask_ = as_contiguous(*mask);
    }
    if (!soft_ && logits.is_cpu()) check_labels(ignore_index);
  }

  bool takes_part(int64_t n) const { return !mask_ || static_cast<const bool*>(mask_->data_ptr())[n]; }

  void check_labels(int64_t ignore_index) const {
    const auto* const labels = static_cast<const int64_t*>(target_.data_ptr());
    const int64_t last = std::max<int64_t>(1, C_ - 1);
    for (int64_t n = 0; n < N_; ++n)
      INFOTORCH_CHECK(
          (0 <= labels[n] && labels[n] <= last) || labels[n] == ignore_index || !takes_part(n), where_,
          "labels must lie in 0.." + std::to_string(last) + " or equal ignore_index=" + std::to_string(ignore_index),
          std::to_string(labels[n]) + " at row " + std::to_string(n), "Check the label map.");
  }

  // Rows without a target have NaN in match; so have those with NaN in their logits.
  template <typename scalar_t>
  void check_soft(const scalar_t* match) const {
    const auto* t = static_cast<const scalar_t*>(target_.data_ptr());
    for (int64_t n = 0; n < N_; ++n, t += C_) {
      if (match[n] == match[n] || !takes_part(n)) continue;
      const std::string row = " at row " + std::to_string(n);
      if (C_ == 1)
        INFOTORCH_CHECK(0 <= *t && *t <= 1, where_, "a target of a single logit must lie in [0, 1]",
                        number_text(*t) + row, "It is the probability of the positive class.");
      const scalar_t least = *std::min_element(t, t + C_);
      INFOTORCH_CHECK(C_ == 1 || !(least < 0), where_, "probabilities in target must not be negative",
                      number_text(least) + row, "Pass what softmax gives.");
      double sum = 0;
      for (int64_t c = 0; c < C_; ++c) sum += t[c];
      INFOTORCH_CHECK(C_ == 1 || std::abs(sum - 1) <= kTargetTolerance, where_,
                      "probabilities in target must sum to 1 within 1e-4", number_text(sum) + row,
                      "Divide every row by its sum.");
    }
  }

  void take_weight(const std::optional<Tensor>& weight, const std::optional<Tensor>& pos_weight) {
    INFOTORCH_CHECK(!weight || C_ > 1, where_, "weight is for several classes", "a single logit", "Pass pos_weight.");
    INFOTORCH_CHECK(!pos_weight || C_ == 1, where_, "pos_weight is for a single logit", std::to_string(C_) + " classes",
                    "Pass weight.");
    if (!weight && !pos_weight) return;
    const std::string name = weight ? "weight" : "pos_weight";
    const Tensor& given = weight ? *weight : *pos_weight;
    INFOTORCH_CHECK(weight ? given.dim() == 1 && given.size(0) == C_ : given.numel() == 1, where_,
                    name + " must be " + (weight ? shape_text({C_}) : "one number"), shape_text(given),
                    weight ? "Give every class one." : "It weighs the positive class.");
    INFOTORCH_CHECK(given.scalar_type() == logits_.scalar_type() || given.scalar_type() == result_dtype(logits_),
                    where_, name + " must be of logits' dtype", dtype_text(given) + " beside " + dtype_text(logits_),
                    "Convert with .to(logits.dtype).");
    weight_ = as_contiguous(torch::stable::to(given, result_dtype(logits_)));
    const std::string must = name + " must be finite and not negative";
    if (!logits_.is_cpu()) return assert_in_range(*weight_, INT64_MAX, where_ + ": " + must);
    for_dtype(logits_.scalar_type(), [&](auto zero) {
      const auto* const w = static_cast<const decltype(zero)*>(weight_->data_ptr());
      for (int64_t c = 0; c < C_; ++c)
        INFOTORCH_CHECK(w[c] >= 0 && std::isfinite(w[c]), where_, must,
                        number_text(w[c]) + (weight ? " for class " + std::to_string(c) : ""),
                        "A class of weight 0 has no say.");
    });
  }

  void take_noise(std::optional<double> lam, const std::optional<Tensor>& ids, int64_t seed, int64_t step) {
    INFOTORCH_CHECK(!lam || options_.match != LimitMatch::ce, where_, "lam is for q='gaussian' or 'laplace'", "q='ce'",
                    "Leave lam out: cross-entropy has no noise to draw.");
    INFOTORCH_CHECK(!lam || (*lam > 0 && std::isfinite(*lam)), where_, "lam must be a number above 0",
                    number_text(*lam), "Leave it out for the mean variant.");
    INFOTORCH_CHECK(!ids || lam, where_, "noise needs lam, its precision", "noise without lam",
                    "Pass lam too, or neither.");
    if (!ids) return;
    INFOTORCH_CHECK(ids->scalar_type() == ScalarType::Long && ids->dim() == 1 && ids->size(0) == logits_.size(0),
                    where_, "the noise's ids must be int64, one for every sample of logits",
                    dtype_text(*ids) + " " + shape_text(*ids) + " beside logits " + shape_text(logits_),
                    "Pass the samples' places in the data set.");
    ids_ = as_contiguous(*ids);
    const int64_t positions = N_ == 0 ? 1 : N_ / ids_->size(0);
    INFOTORCH_CHECK(positions <= kMostPositions, where_, "a sample must have at most 2^20 positions",
                    std::to_string(positions), "Split the sequences.");
    if (positions > 1) check_ids();
    options_.noise = {static_cast<const int64_t*>(ids_->data_ptr()), positions, static_cast<uint64_t>(seed),
                      static_cast<uint32_t>(step)};
    options_.noise_scale = options_.match == LimitMatch::laplace ? 1 / *lam : std::sqrt(1 / (2 * *lam));
  }

  void check_ids() const {
    constexpr int64_t end = INT64_MAX / kMostPositions;
    const std::string must = "ids of samples with several positions must lie in [0, 2^43)";
    if (!ids_->is_cpu()) return assert_in_range(*ids_, end, where_ + ": " + must);
    const auto* const ids = static_cast<const int64_t*>(ids_->data_ptr());
    for (int64_t n = 0; n < ids_->size(0); ++n)
      INFOTORCH_CHECK(0 <= ids[n] && ids[n] <= end, where_, must,
                      std::to_string(ids[n]) + " for sample " + std::to_string(n), "Number the samples from 0.");
  }

  const std::string where_;
  int64_t N_ = 1, C_ = 1, leading_ = 1;
  bool soft_ = false;
  Tensor logits_, aux_logits_, target_;
  std::optional<Tensor> weight_, mask_, ids_;
  LimitOptions options_;
};

NoiseKind noise_kind_of(const std::string& kind) {
  INFOTORCH_CHECK(kind == "gaussian" || kind == "laplace" || kind == "uniform" || kind == "words", "limit_noise",
                  "kind must be 'gaussian', 'laplace', 'uniform' or 'words'", "'" + kind + "'",
                  "Leave it out for 'gaussian'.");
  return kind == "gaussian"  ? NoiseKind::gaussian
         : kind == "laplace" ? NoiseKind::laplace
         : kind == "uniform" ? NoiseKind::uniform
                             : NoiseKind::words;
}

Results limit_cpu(const Tensor& logits, const Tensor& aux_logits, const Tensor& target, const std::string& q,
                  double beta, std::optional<Tensor> weight, std::optional<Tensor> pos_weight, double label_smoothing,
                  int64_t ignore_index, std::optional<Tensor> mask, std::optional<double> lam,
                  std::optional<Tensor> ids, int64_t seed, int64_t step, const std::string& where) {
  const Call call(where, logits, aux_logits, target, q, beta, weight, pos_weight, label_smoothing, ignore_index, mask,
                  lam, ids, seed, step);
  Results out;
  for_dtype(logits.scalar_type(), [&](auto zero) {
    out = call.run<decltype(zero)>([](const auto& options, const auto& rows) { cpu::limit(options, rows); });
  });
  return out;
}

// The arguments of a call for noise, checked.
struct NoiseCall {
  Tensor ids;
  NoiseKey key;
  NoiseKind kind;
  Tensor out;

  NoiseCall(const Tensor& ids, int64_t num_classes, int64_t seed, int64_t step, const std::string& name) {
    INFOTORCH_CHECK(ids.scalar_type() == ScalarType::Long && ids.dim() == 1, "limit_noise", "ids must be int64 [N]",
                    dtype_text(ids) + " " + shape_text(ids), "Pass the samples' places in the data set.");
    INFOTORCH_CHECK(num_classes > 0, "limit_noise", "num_classes must be positive", std::to_string(num_classes),
                    "Pass the number of logits.");
    kind = noise_kind_of(name);
    this->ids = as_contiguous(ids);
    key = {static_cast<const int64_t*>(this->ids.data_ptr()), 1, static_cast<uint64_t>(seed),
           static_cast<uint32_t>(step)};
    out = new_empty(ids, {ids.size(0), num_classes}, ScalarType::Double);
  }

  double* numbers() { return static_cast<double*>(out.data_ptr()); }
};

Tensor limit_noise_cpu(const Tensor& ids, int64_t num_classes, int64_t seed, int64_t step, const std::string& kind) {
  NoiseCall call(ids, num_classes, seed, step, kind);
  cpu::limit_noise(call.key, ids.size(0), num_classes, call.kind, call.numbers());
  return call.out;
}

#ifdef INFOTORCH_CUDA
Results limit_cuda(const Tensor& logits, const Tensor& aux_logits, const Tensor& target, const std::string& q,
                   double beta, std::optional<Tensor> weight, std::optional<Tensor> pos_weight, double label_smoothing,
                   int64_t ignore_index, std::optional<Tensor> mask, std::optional<double> lam,
                   std::optional<Tensor> ids, int64_t seed, int64_t step, const std::string& where) {
  const Call call(where, logits, aux_logits, target, q, beta, weight, pos_weight, label_smoothing, ignore_index, mask,
                  lam, ids, seed, step);
  const Gpu gpu("limit", logits);
  Results out;
  for_dtype(logits.scalar_type(), [&](auto zero) {
    out = call.run<decltype(zero)>(
        [&](const auto& options, const auto& rows) { gpu.check(cuda::limit(options, rows, gpu.stream())); });
  });
  return out;
}

Tensor limit_noise_cuda(const Tensor& ids, int64_t num_classes, int64_t seed, int64_t step, const std::string& kind) {
  NoiseCall call(ids, num_classes, seed, step, kind);
  const Gpu gpu("limit_noise", ids);
  gpu.check(cuda::limit_noise(call.key, ids.size(0), num_classes, call.kind, call.numbers(), gpu.stream()));
  return call.out;
}
#endif

}  // namespace
}  // namespace infotorch

STABLE_TORCH_LIBRARY_FRAGMENT(infotorch, m) {
  m.def(
      "limit(Tensor logits, Tensor aux_logits, Tensor target, str q, float beta, Tensor? weight=None, "
      "Tensor? pos_weight=None, float label_smoothing=0.0, SymInt ignore_index=-100, Tensor? mask=None, "
      "float? lam=None, Tensor? ids=None, int seed=0, SymInt step=0, str where='limit') -> "
      "(Tensor inject, Tensor aux_grad, Tensor sample, Tensor match, Tensor pen, Tensor ce, Tensor dist, "
      "Tensor valid, Tensor top, Tensor aux_top)");
  m.def("limit_noise(Tensor ids, SymInt num_classes, int seed, SymInt step, str kind='gaussian') -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(infotorch, CPU, m) {
  m.impl("limit", TORCH_BOX(&infotorch::limit_cpu));
  m.impl("limit_noise", TORCH_BOX(&infotorch::limit_noise_cpu));
}
#ifdef INFOTORCH_CUDA
STABLE_TORCH_LIBRARY_IMPL(infotorch, CUDA, m) {
  m.impl("limit", TORCH_BOX(&infotorch::limit_cuda));
  m.impl("limit_noise", TORCH_BOX(&infotorch::limit_noise_cuda));
}
#endif
