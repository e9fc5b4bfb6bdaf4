// What an entry (tests/emulate/<op>.cpp) sees of one call of its op: tensors in heap blocks of exactly their size, so
// that a sanitizer sees the first byte beyond, and results that start as NaN.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../../csrc/pair.h"

namespace infotorch {

enum class Device { cpu, cuda };

struct Array {
  std::string dtype;
  std::vector<int64_t> size, stride;  // in numbers
  std::unique_ptr<char[]> block;
  const char* data;
};

struct Block {
  std::unique_ptr<char[]> data;
  size_t bytes;
};
using Blocks = std::vector<Block>;

class Call {
 public:
  Device device;
  uint64_t seed;
  int threads;
  Blocks results;

  bool read();  // false at the end of the input
  void run();   // the op's entry

  bool has(const std::string& name) const { return arrays.count(name); }
  const Array& array(const std::string& name) const { return arrays.at(name); }
  const std::string& option(const std::string& name) const { return options.at(name); }
  int64_t number(const std::string& name) const { return std::stoll(option(name)); }
  PairShape shape(const std::string& a = "a", const std::string& b = "b") const;

  template <typename scalar_t>
  const scalar_t* data(const std::string& name) const {
    return reinterpret_cast<const scalar_t*>(array(name).data);
  }

  template <typename scalar_t>
  Rows<scalar_t> rows(const std::string& name, int64_t t_dims = 1, bool bias = false) const {
    const Array& x = array(name);
    const Storage storage = x.dtype == "bfloat16"  ? Storage::bfloat16
                            : x.dtype == "float16" ? Storage::float16
                                                   : Storage::same;
    Rows<scalar_t> rows = {x.data, storage, x.stride[0], {}, {}, bias};
    for (size_t d = 1; d < x.size.size(); ++d)
      (static_cast<int64_t>(d) <= t_dims ? rows.t : rows.i).append(x.size[d], x.stride[d]);
    return rows;
  }

  // Runs body(a's Rows or Ids, b's Rows).
  template <typename scalar_t, typename Body>
  void for_pair(const Body& body, const std::string& a = "a", const std::string& b = "b") const {
    const Array& x = array(a);
    const bool bias = number("bias");
    if (x.dtype == "int64")
      body(Ids{data<int64_t>(a), x.stride[0], x.stride[1], bias}, rows<scalar_t>(b));
    else
      body(rows<scalar_t>(a, number("t_dims"), bias), rows<scalar_t>(b));
  }

  // Room for `count` numbers. Python gets the results in the order of these calls.
  template <typename scalar_t>
  scalar_t* result(int64_t count) {
    return reinterpret_cast<scalar_t*>(room(results, count * sizeof(scalar_t)));
  }
  template <typename scalar_t>
  scalar_t* scratch(int64_t count) {
    return reinterpret_cast<scalar_t*>(room(scratches, count * sizeof(scalar_t)));
  }

  static void check(const char* error);  // of a seam in csrc/cuda: ends the program unless it is nullptr

 private:
  static char* room(Blocks& blocks, size_t bytes);

  std::string op;
  std::map<std::string, std::string> options;
  std::map<std::string, Array> arrays;
  Blocks scratches;
};

void set_threads(int count);  // that csrc/parallel.h has

inline namespace driver {  // philox.h, too, has an Entry

// Makes an op known to the driver.
struct Entry {
  Entry(const char* op, void (*in_float)(Call&), void (*in_double)(Call&));
};

}  // namespace driver

}  // namespace infotorch
