// What every op on a captured pair checks, and how it hands the pair on.
#pragma once

#include "../pair.h"
#include "../torch_api.h"

namespace infotorch {

// How the user described a pair: the keyword arguments that every op takes.
struct PairOptions {
  bool bias;
  int64_t t_dims;
  std::optional<int64_t> in_features;  // given exactly when a holds indices
};

// a [N, *T, *I] with t_dims axes of positions, or int64 [N, T] with in_features; b [N, T, O].
PairShape check_pair(const char* where, const Tensor& a, const Tensor& b, const PairOptions& options);

// out is of a's kind and exactly of these sizes, contiguous, and no part of an input.
void check_out(const char* where, const Tensor& out, const Tensor& b, std::initializer_list<int64_t> sizes);

void check_method(const char* where, const std::string& method);

template <typename scalar_t>
Rows<scalar_t> rows_of(const Tensor& x, int64_t t_dims = 1, bool bias = false) {
  Rows<scalar_t> rows = {static_cast<const scalar_t*>(x.data_ptr()), x.stride(0), {}, {}, bias};
  for (int64_t d = 1; d < x.dim(); ++d) (d <= t_dims ? rows.t : rows.i).append(x.size(d), x.stride(d));
  return rows;
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
