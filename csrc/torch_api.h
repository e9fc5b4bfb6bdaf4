// Everything csrc takes from torch, under names of its own: the stable ABI and nothing else, so one binary
// serves every torch from TORCH_TARGET_VERSION on. torch_api.cpp has the bodies.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

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
std::string device_text(const Tensor& x);  // "cuda:1"

bool same_device(const Tensor& x, const Tensor& y);

// What sums over x run in, and the result's dtype: float64 for float64, float32 for all others.
ScalarType result_dtype(const Tensor& x);

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes);  // of like's device and result_dtype
Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype);
Tensor to_result_dtype(const Tensor& x);  // x itself, if it has that dtype

// x's memory under other sizes and strides, `offset` numbers after x begins.
Tensor as_strided(const Tensor& x, std::initializer_list<int64_t> sizes, std::initializer_list<int64_t> strides,
                  int64_t offset = 0);

Tensor as_contiguous(const Tensor& x);  // x itself, if it is

// out = beta out + x y, by torch's own product: on a GPU in tf32 where torch may.
// beta = 0 ignores what out held.
void matmul_out(const Tensor& x, const Tensor& y, double beta, Tensor& out);  // of matrices
void batched_matmul_out(const Tensor& x, const Tensor& y, Tensor& out);       // of batches; beta = 0
void multiply_out(const Tensor& x, const Tensor& y, Tensor& out);             // elementwise, of any shapes that fit

// Stops what runs on x's device, as torch's own embedding does, unless 0 <= x < end everywhere; on the CPU it throws.
// Nothing waits for it.
void assert_in_range(const Tensor& x, int64_t end, const std::string& text);

// What the kernels of csrc/cuda need beside their data, for tensors on the device of `on`, which is current meanwhile.
class Gpu {
 public:
  Gpu(const char* where, const Tensor& on);

  void* stream() const;  // torch's current one

  // Room for `count` numbers, until this is gone: torch hands memory on in the order of the stream.
  template <typename T>
  T* scratch(int64_t count) {
    return static_cast<T*>(bytes(count * sizeof(T)));
  }

  // Throws std::runtime_error, which Python sees as RuntimeError, unless a kernel's error is nullptr.
  void check(const char* error) const;

 private:
  void* bytes(int64_t count);

  const char* const where_;
  const int32_t index_;
  const torch::stable::accelerator::DeviceGuard guard_;
  std::vector<Tensor> held_;
};

// Runs body with a zero of the type that sums over numbers of this dtype run in. Check the dtype first.
template <typename Body>
void for_dtype(ScalarType dtype, Body body) {
  if (dtype == ScalarType::Double) return body(double{});
  body(float{});
}

}  // namespace infotorch
