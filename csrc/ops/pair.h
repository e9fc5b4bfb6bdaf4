// What every op on a captured pair checks, and how it hands the pair on.
#pragma once

#include <algorithm>
#include <utility>

#include "../pair.h"
#include "storage.h"

namespace infotorch {

// How the user described a pair: the keyword arguments that every op takes.
struct PairOptions {
  bool bias;
  int64_t t_dims;
  std::optional<int64_t> in_features;  // given exactly when a holds indices
};

constexpr int64_t kMostAxes = Axes::kMax - 1;  // of positions, and of features
constexpr int64_t kMostNumbers =
    (int64_t{1} << 59) - 1;  // of a tensor: their bytes, and a bias, are counted in 64 bits

inline std::string pair_text(const Tensor& a, const Tensor& b) {
  return "a " + shape_text(a) + " and b " + shape_text(b);
}

// Whether a tensor of these sizes has at most kMostNumbers. Sizes of 0 count as 1, for strides are products too.
inline bool is_countable(std::initializer_list<int64_t> sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes) {
    if (size > kMostNumbers / count) return false;
    count *= size > 0 ? size : 1;
  }
  return true;
}

// Everything lies where b does.
inline void check_device(const char* where, const Tensor& x, const Tensor& b) {
  INFOTORCH_CHECK(same_device(x, b), where, "all tensors must be on one device",
                  device_text(b) + " and " + device_text(x), "Move one with .to(device).");
}

// On a GPU nobody waits to read them: they stop the device as an index out of range stops torch's own embedding.
inline void check_ids(const char* where, const Tensor& a, int64_t in_features) {
  const std::string must = "indices in a must lie in [0, " + std::to_string(in_features) + ")";
  const std::string todo = "Map padding to a row of its own, with b zero there.";
  if (!a.is_cpu()) return assert_in_range(a, in_features, where + (": " + must) + ". " + todo);
  const auto* ids = static_cast<const int64_t*>(a.data_ptr());
  for (int64_t n = 0; n < a.size(0); ++n)
    for (int64_t t = 0; t < a.size(1); ++t) {
      const int64_t id = ids[n * a.stride(0) + t * a.stride(1)];
      INFOTORCH_CHECK(0 <= id && id < in_features, where, must, std::to_string(id) + " in sample " + std::to_string(n),
                      todo);
    }
}

// a [N, *T, *I] with t_dims axes of positions, or int64 [N, T] with in_features; b [N, T, O].
inline PairShape check_pair(const char* where, const Tensor& a, const Tensor& b, const PairOptions& options) {
  const auto [bias, t_dims, in_features] = options;
  const bool index = a.scalar_type() == ScalarType::Long;
  INFOTORCH_CHECK(index || is_float(a), where, "a must be float64, float32, bfloat16, float16, or int64 indices",
                  dtype_text(a), in_features ? "Convert with a.long()." : "Convert with a.float().");
  INFOTORCH_CHECK(is_float(b), where, "b must be float64, float32, bfloat16 or float16", dtype_text(b),
                  "Convert with b.float().");
  INFOTORCH_CHECK(!index || in_features, where, "int64 a needs in_features", "none",
                  "Pass the number of embeddings as in_features, or a.float().");
  INFOTORCH_CHECK(index || !in_features, where, "in_features is for int64 indices", "a of " + dtype_text(a),
                  "Leave in_features out.");
  INFOTORCH_CHECK(index || a.scalar_type() == b.scalar_type(), where, "a and b must have one dtype",
                  dtype_text(a) + " and " + dtype_text(b), "Convert one with .to(dtype).");
  check_device(where, a, b);
  INFOTORCH_CHECK(a.is_cpu() || a.is_cuda(), where, "tensors must be on the CPU or a CUDA device", device_text(a),
                  "Move them with .cpu().");
  INFOTORCH_CHECK(1 <= t_dims && t_dims <= (index ? 1 : kMostAxes), where,
                  index ? "t_dims must be 1 for indices" : "t_dims must be 1 to 4", std::to_string(t_dims),
                  "Count the axes of positions in a.");
  INFOTORCH_CHECK(!index || (a.dim() == 2 && b.dim() == 3), where, "indices must be [N, T] and b [N, T, O]",
                  pair_text(a, b), "Flatten the axes of positions.");
  INFOTORCH_CHECK(index || (a.dim() >= t_dims + 2 && a.dim() <= t_dims + 1 + kMostAxes && b.dim() == 3), where,
                  "a must be [N, *T, *I] with t_dims axes of positions, and b [N, T, O]", pair_text(a, b),
                  "Insert the T axis with unsqueeze(1) if it is missing.");
  PairShape shape = {a.size(0), 1, 1, b.size(2)};
  for (int64_t d = 1; d < a.dim(); ++d) (d <= t_dims ? shape.T : shape.I) *= a.size(d);
  if (index) {
    INFOTORCH_CHECK(*in_features >= 0, where, "in_features must not be negative", std::to_string(*in_features),
                    "Pass the number of embeddings.");
    check_ids(where, a, *in_features);
    shape.I = *in_features;
  }
  INFOTORCH_CHECK(is_countable({shape.O, shape.I}), where, "a gradient must have fewer than 2^59 numbers",
                  "O = " + std::to_string(shape.O) + " and I = " + std::to_string(shape.I), "Check b and in_features.");
  shape.I += bias;
  INFOTORCH_CHECK(shape.N == b.size(0) && shape.T == b.size(1), where, "a and b must agree on N and T", pair_text(a, b),
                  "Capture both from the same forward pass.");
  return shape;
}

// The tensor that `where` calls `name`, of a's and b's dtype or the result's; what comes back is of the result's.
inline Tensor beside_pair(const char* where, const std::string& name, const Tensor& x, const Tensor& b) {
  const std::string result = result_dtype(b) == b.scalar_type() ? "" : " (or " + dtype_text(result_dtype(b)) + ")";
  INFOTORCH_CHECK(x.scalar_type() == b.scalar_type() || x.scalar_type() == result_dtype(b), where,
                  name + " must be of b's dtype" + result, dtype_text(x), "Convert with " + name + ".to(b).");
  check_device(where, x, b);
  return to_result_dtype(x);
}

inline Tensor new_result(const char* where, const Tensor& b, std::initializer_list<int64_t> sizes) {
  INFOTORCH_CHECK(is_countable(sizes), where, "the result must have fewer than 2^59 numbers", shape_text(sizes),
                  "Ask for a smaller one.");
  return new_empty(b, sizes);
}

// Where x's numbers begin, and how many bytes on they end.
inline std::pair<const char*, int64_t> extent(const Tensor& x) {
  int64_t last = 0;  // number
  for (int64_t d = 0; d < x.dim(); ++d) last += (x.size(d) - 1) * x.stride(d);
  return {static_cast<const char*>(x.data_ptr()), x.numel() > 0 ? (last + 1) * x.element_size() : 0};
}

// Whether a number of one may lie within the other, as the rows of two halves of a matrix do that is cut in columns.
inline bool share_memory(const Tensor& x, const Tensor& y) {
  const auto [x_begin, x_bytes] = extent(x);
  const auto [y_begin, y_bytes] = extent(y);
  return x_bytes > 0 && y_bytes > 0 && x_begin < y_begin + y_bytes && y_begin < x_begin + x_bytes;
}

// out is of the result's dtype and b's device, of exactly these sizes, contiguous, and apart from the inputs.
inline void check_out(const char* where, const Tensor& out, const Tensor& b, std::initializer_list<int64_t> sizes,
                      std::initializer_list<const Tensor*> inputs) {
  bool same = out.dim() == static_cast<int64_t>(sizes.size());
  for (int64_t d = 0; same && d < out.dim(); ++d) same = out.size(d) == sizes.begin()[d];
  INFOTORCH_CHECK(same, where, "out must be " + shape_text(sizes), shape_text(out), "Allocate it with that shape.");
  const std::string dtype = dtype_text(result_dtype(b));
  INFOTORCH_CHECK(out.scalar_type() == result_dtype(b), where, "out must be " + dtype, dtype_text(out),
                  "Allocate it with b.new_empty(size, dtype=torch." + dtype + ").");
  check_device(where, out, b);
  INFOTORCH_CHECK(out.is_contiguous(), where, "out must be contiguous", "strides",
                  "Write to a contiguous tensor and copy.");
  for (const Tensor* x : inputs)
    INFOTORCH_CHECK(!share_memory(out, *x), where, "out must not share memory with the inputs",
                    "an out that meets one of " + shape_text(*x), "Allocate it apart from them.");
}

// What `option` means by `name`, of the names that it knows; the first is its default.
template <typename choice_t>
choice_t choice(const char* where, const std::string& option,
                std::initializer_list<std::pair<const char*, choice_t>> known, const std::string& name) {
  std::string all;
  for (const auto& one : known) {
    if (name == one.first) return one.second;
    all += (all.empty() ? "'" : &one == known.end() - 1 ? "' or '" : "', '") + std::string(one.first);
  }
  fail(where, option + " must be " + all + "'", "'" + name + "'",
       std::string("Leave it out for '") + known.begin()->first + "'.");
}

template <typename scalar_t>
Rows<scalar_t> rows_of(const Tensor& x, int64_t t_dims = 1, bool bias = false) {
  Rows<scalar_t> rows = {x.data_ptr(), storage_of(x), x.stride(0), {}, {}, bias};
  for (int64_t d = 1; d < x.dim(); ++d) (d <= t_dims ? rows.t : rows.i).append(x.size(d), x.stride(d));
  return rows;
}

// Whether a and b are matrices for every sample, as torch's products take them: G[n] is b[n]^T a[n] then.
inline bool is_plain(const Tensor& a, const PairShape& shape, const PairOptions& options) {
  const bool empty = shape.N == 0 || shape.T == 0 || shape.I == 0 || shape.O == 0;
  return !options.in_features && !options.bias && options.t_dims == 1 && a.dim() == 3 && !empty;
}

inline Tensor transposed(const Tensor& x) {  // [N, T, I] -> [N, I, T]
  return as_strided(x, {x.size(0), x.size(2), x.size(1)}, {x.stride(0), x.stride(2), x.stride(1)});
}

// Runs body(a's Rows or Ids, b's Rows).
template <typename scalar_t, typename Body>
void for_pair(const Tensor& a, const Tensor& b, const PairOptions& options, Body body) {
  if (options.in_features)
    body(Ids{static_cast<const int64_t*>(a.data_ptr()), a.stride(0), a.stride(1), options.bias}, rows_of<scalar_t>(b));
  else
    body(rows_of<scalar_t>(a, options.t_dims, options.bias), rows_of<scalar_t>(b));
}

}  // namespace infotorch
