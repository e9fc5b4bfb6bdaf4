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
std::string dtype_text(const Tensor& x);                       // "float32"

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes);

// Runs body with a zero of type float or double. Check the dtype first.
template <typename Body>
void for_dtype(ScalarType dtype, Body body) {
  if (dtype == ScalarType::Float) return body(float{});
  body(double{});
}

}  // namespace infotorch
