// Everything csrc takes from torch, under names of its own: the stable ABI and nothing else, so one binary
// serves every torch from TORCH_TARGET_VERSION on. torch_api.cpp has the bodies.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

namespace infotorch {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws std::invalid_argument, which Python sees as ValueError: "<where>: <must>; got <got>. <todo>".
[[noreturn]] void fail(const std::string& where, const std::string& must, const std::string& got,
                       const std::string& todo);

// The texts are built only when the check fails.
#define INFOTORCH_CHECK(holds, where, must, got, todo)       \
  do {                                                       \
    if (!(holds)) ::infotorch::fail(where, must, got, todo); \
  } while (false)

std::string shape_text(const Tensor& x);                       // "[2, 3]"
std::string shape_text(std::initializer_list<int64_t> sizes);  // the same of sizes
std::string dtype_text(ScalarType dtype);                      // "float32"
std::string dtype_text(const Tensor& x);

// What sums over x run in, and the result's dtype: float64 for float64, float32 for all others.
ScalarType result_dtype(const Tensor& x);

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes);  // of like's device and result_dtype
Tensor to_result_dtype(const Tensor& x);                                     // x itself, if it has that dtype

// x's memory under other sizes and strides, `offset` numbers after x begins.
Tensor as_strided(const Tensor& x, std::initializer_list<int64_t> sizes, std::initializer_list<int64_t> strides,
                  int64_t offset = 0);

Tensor as_contiguous(const Tensor& x);  // x itself, if it is

// out = beta out + x y, by torch's own product on the CPU, with threads of its own. beta = 0 ignores what out held.
void matmul_out(const Tensor& x, const Tensor& y, double beta, Tensor& out);  // of matrices
void batched_matmul_out(const Tensor& x, const Tensor& y, Tensor& out);       // of batches; beta = 0

// Runs body with a zero of the type that sums over numbers of this dtype run in. Check the dtype first.
template <typename Body>
void for_dtype(ScalarType dtype, Body body) {
  if (dtype == ScalarType::Double) return body(double{});
  body(float{});
}

}  // namespace infotorch
