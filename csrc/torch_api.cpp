#include "torch_api.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

#include "denormals.h"
#include "parallel.h"

// They are in libtorch_cuda. Were they not weak, a torch without that would refuse this module.
extern "C" {
__attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
__attribute__((weak)) AOTITorchError aoti_torch_cuda_addmm_out(AtenTensorHandle out, AtenTensorHandle self,
                                                               AtenTensorHandle x, AtenTensorHandle y, double beta,
                                                               double alpha);
__attribute__((weak)) AOTITorchError aoti_torch_cuda_bmm_out(AtenTensorHandle out, AtenTensorHandle x,
                                                             AtenTensorHandle y);
}

namespace infotorch {
namespace {

template <typename Sizes>
std::string join(const Sizes& sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

Tensor empty(std::initializer_list<int64_t> sizes, int32_t dtype, int32_t device, int32_t index) {
  int64_t strides[8], stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes.begin()[d]) strides[d] = stride;
  AtenTensorHandle handle;
  if (aoti_torch_empty_strided(sizes.size(), sizes.begin(), strides, dtype, device, index, &handle))
    throw std::runtime_error("infotorch: memory must hold what is computed; got no room for a tensor of " +
                             join(sizes) + ". Free some, or split the batch.");
  return Tensor(handle);
}

int32_t device_type(const Tensor& x) {
  int32_t type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(x.get(), &type));
  return type;
}

int32_t device_index(const Tensor& x) {
  int32_t index;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(x.get(), &index));
  return index;
}

// An operator of torch that returns one value, or none.
template <typename... Args>
StableIValue dispatch(const char* name, const char* overload, const Args&... args) {
  std::array<StableIValue, sizeof...(Args)> stack = {torch::stable::detail::from(args)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack.data(), TORCH_ABI_VERSION));
  return stack[0];
}

Tensor as_tensor(StableIValue value) { return torch::stable::detail::to<Tensor>(value); }

// A number of no axes, which may meet tensors of any device.
Tensor number(int64_t value) {
  Tensor x = empty({}, aoti_torch_dtype_int64(), aoti_torch_device_type_cpu(), 0);
  *static_cast<int64_t*>(x.data_ptr()) = value;
  return x;
}

struct Remedy {
  const char *says, *todo;
};
constexpr Remedy kRemedies[] = {
    {"driver version is insufficient", "Update the driver, or build with a CUDA toolkit no newer than it."},
    {"unsupported toolchain", "Update the driver, or build with a CUDA toolkit no newer than it."},
    {"no kernel image", "Build with this GPU's architecture in TORCH_CUDA_ARCH_LIST."},
    {"out of memory", "Free memory on the device, or split the batch."},
    {"more blocks", "Split the batch."},
};

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
Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  const auto number = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  return empty(sizes, number, device_type(like), device_index(like));
}

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return new_empty(like, sizes, result_dtype(like));
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
  const auto product = out.is_cpu() ? aoti_torch_cpu_addmm_out : aoti_torch_cuda_addmm_out;
  TORCH_ERROR_CODE_CHECK(product(out.get(), out.get(), x.get(), y.get(), beta, 1));
}

void batched_matmul_out(const Tensor& x, const Tensor& y, Tensor& out) {
  const auto product = out.is_cpu() ? aoti_torch_cpu_bmm_out : aoti_torch_cuda_bmm_out;
  TORCH_ERROR_CODE_CHECK(product(out.get(), x.get(), y.get()));
}

void multiply_out(const Tensor& x, const Tensor& y, Tensor& out) { as_tensor(dispatch("aten::mul", "out", x, y, out)); }

std::string device_text(const Tensor& x) {
  if (x.is_cpu()) return "cpu";
  return (x.is_cuda() ? "cuda:" : "another device, number ") + std::to_string(device_index(x));
}

bool same_device(const Tensor& x, const Tensor& y) {
  return device_type(x) == device_type(y) && (x.is_cpu() || device_index(x) == device_index(y));
}

void assert_in_range(const Tensor& x, int64_t end, const std::string& text) {
  const Tensor from = as_tensor(dispatch("aten::ge", "Tensor", x, number(0)));
  const Tensor below = as_tensor(dispatch("aten::lt", "Tensor", x, number(end)));
  const Tensor inside = as_tensor(dispatch("aten::logical_and", "", from, below));
  dispatch("aten::_assert_async", "msg", as_tensor(dispatch("aten::all", "", inside)), text);
}

Gpu::Gpu(const char* where, const Tensor& on) : where_(where), index_(device_index(on)), guard_(index_) {}

void* Gpu::stream() const {
  void* stream;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
  return stream;
}

void* Gpu::bytes(int64_t count) {
  if (count == 0) return nullptr;
  held_.push_back(empty({count}, aoti_torch_dtype_uint8(), aoti_torch_device_type_cuda(), index_));
  return held_.back().data_ptr();
}

void Gpu::check(const char* error) const {
  if (error == nullptr) return;
  std::string todo = "Run again with CUDA_LAUNCH_BLOCKING=1 to see which call failed.";
  for (const Remedy& remedy : kRemedies)
    if (std::string(error).find(remedy.says) != std::string::npos) todo = remedy.todo;
  throw std::runtime_error(std::string(where_) + ": the CUDA kernels must run; got \"" + error + "\". " + todo);
}

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    body(begin, end);
  });
}

int64_t num_threads() { return torch::stable::get_num_threads(); }

}  // namespace infotorch
