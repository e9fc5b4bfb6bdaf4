#include "../../csrc/limit.h"

#include "driver.h"

namespace infotorch {
namespace {

template <typename scalar_t>
void limit(Call& call) {
  const auto& q = call.option("q");
  const LimitMatch match = q == "gaussian"  ? LimitMatch::gaussian
                           : q == "laplace" ? LimitMatch::laplace
                                            : LimitMatch::ce;
  const std::vector<int64_t>& size = call.array("b").size;  // of the classifier's logits; a has the auxiliary's
  const int64_t N = size[0], C = size[1];
  const auto optional = [&](const char* name) { return call.has(name) ? call.data<char>(name) : nullptr; };
  const int64_t* const ids = reinterpret_cast<const int64_t*>(optional("ids"));
  const NoiseKey key = {ids, call.number("positions"), std::stoull(call.option("seed")),
                        static_cast<uint32_t>(call.number("step"))};
  const LimitOptions options = {match, std::stod(call.option("beta")), std::stod(call.option("smoothing")), -100,
                                key,   std::stod(call.option("scale"))};
  const Storage storage = call.rows<scalar_t>("b").storage;
  const bool soft = call.array("target").dtype != "int64";
  const int64_t bytes = storage == Storage::same ? sizeof(scalar_t) : 2;
  const auto numbers = [&] { return call.result<char>(N * C * bytes); };
  LimitRows<scalar_t> rows = {N,
                              C,
                              storage,
                              call.data<char>("b"),
                              call.data<char>("a"),
                              soft ? nullptr : call.data<int64_t>("target"),
                              soft ? call.data<scalar_t>("target") : nullptr,
                              reinterpret_cast<const scalar_t*>(optional("weight")),
                              reinterpret_cast<const bool*>(optional("mask")),
                              numbers(),
                              numbers(),
                              ids == nullptr ? nullptr : numbers(),
                              nullptr,
                              nullptr,
                              nullptr,
                              nullptr,
                              nullptr,
                              nullptr,
                              nullptr};
  for (scalar_t** const to : {&rows.match, &rows.pen, &rows.ce, &rows.dist}) *to = call.result<scalar_t>(N);
  rows.valid = call.result<bool>(N);
  rows.top = call.result<int64_t>(N);
  rows.aux_top = call.result<int64_t>(N);
  if (call.device == Device::cpu) return cpu::limit(options, rows);
  Call::check(cuda::limit(options, rows, nullptr));
}

template <typename scalar_t>
void limit_noise(Call& call) {
  const auto& kind = call.option("kind");
  const NoiseKind of = kind == "gaussian"  ? NoiseKind::gaussian
                       : kind == "laplace" ? NoiseKind::laplace
                       : kind == "uniform" ? NoiseKind::uniform
                                           : NoiseKind::words;
  const int64_t N = call.array("b").size[0], C = call.number("num_classes");
  const NoiseKey key = {call.data<int64_t>("b"), 1, std::stoull(call.option("seed")),
                        static_cast<uint32_t>(call.number("step"))};
  double* const out = call.result<double>(N * C);
  if (call.device == Device::cpu) return cpu::limit_noise(key, N, C, of, out);
  Call::check(cuda::limit_noise(key, N, C, of, out, nullptr));
}

const driver::Entry limit_entry("limit", limit<float>, limit<double>);
const driver::Entry noise_entry("limit_noise", limit_noise<float>, limit_noise<double>);

}  // namespace
}  // namespace infotorch
