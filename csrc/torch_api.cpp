#include "torch_api.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "parallel.h"

namespace infotorch {
namespace {

template <typename Sizes>
std::string join(const Sizes& sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

}  // namespace

void fail(const std::string& where, const std::string& must, const std::string& got, const std::string& todo) {
  throw std::invalid_argument(where + ": " + must + "; got " + got + ". " + todo);
}

std::string shape_text(std::initializer_list<int64_t> sizes) { return join(sizes); }

std::string shape_text(const Tensor& x) {
  std::string text = "[";
  for (int64_t d = 0; d < x.dim(); ++d) text += (d ? ", " : "") + std::to_string(x.size(d));
  return text + "]";
}

std::string dtype_text(const Tensor& x) { return dtype_text(x.scalar_type()); }

std::string dtype_text(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Int:
      return "int32";
    default:
      break;
  }
  std::string name = toString(dtype);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

ScalarType result_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor to_result_dtype(const Tensor& x) {
  return x.scalar_type() == result_dtype(x) ? x : torch::stable::to(x, result_dtype(x));
}

// Not torch::stable::new_empty: that looks the operator up by its name, at 5 us a call.
Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes) {
  int64_t strides[8], stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes.begin()[d]) strides[d] = stride;
  const bool wide = result_dtype(like) == ScalarType::Double;
  const int32_t dtype = wide ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
  int32_t device, index;
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(sizes.size(), sizes.begin(), strides, dtype, device, index, &handle));
  return Tensor(handle);
}

Tensor as_strided(const Tensor& x, std::initializer_list<int64_t> sizes, std::initializer_list<int64_t> strides,
                  int64_t offset) {
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(
      aoti_torch__reinterpret_tensor(x.get(), sizes.size(), sizes.begin(), strides.begin(), offset, &handle));
  return Tensor(handle);
}

// Not torch::stable::contiguous alone: it looks the operator up by its name too.
Tensor as_contiguous(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }

void matmul_out(const Tensor& x, const Tensor& y, double beta, Tensor& out) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(out.get(), out.get(), x.get(), y.get(), beta, 1));
}

void batched_matmul_out(const Tensor& x, const Tensor& y, Tensor& out) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_bmm_out(out.get(), x.get(), y.get()));
}

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count > 0) torch::stable::parallel_for(0, count, grain, body);
}

int64_t num_threads() { return torch::stable::get_num_threads(); }

}  // namespace infotorch
