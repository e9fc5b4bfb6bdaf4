// Reads calls from standard input, runs each twice under different schedules, and writes the results, whose bits must
// not depend on the schedule. driver.py is at the other end.
#include "driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>

#include "cuda_runtime.h"

namespace infotorch {
namespace {

struct Pieces {
  void (*in_float)(Call&);
  void (*in_double)(Call&);
};

std::map<std::string, Pieces>& entries() {
  static std::map<std::string, Pieces> all;
  return all;
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "driver: %s\n", why.c_str());
  std::abort();
}

}  // namespace

Entry::Entry(const char* op, void (*in_float)(Call&), void (*in_double)(Call&)) {
  entries()[op] = {in_float, in_double};
}

// "op device seed threads tensors key=value ...", then for every tensor "name dtype bytes before dims size ... stride
// ..." and its bytes, the first `before` of which come before its first number.
bool Call::read() {
  std::string line, device_name;
  if (!std::getline(std::cin, line)) return false;
  std::istringstream words(line);
  int64_t tensors;
  words >> op >> device_name >> seed >> threads >> tensors;
  device = device_name == "cpu" ? Device::cpu : Device::cuda;
  for (std::string word; words >> word;) options[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
  for (; tensors > 0; --tensors) {
    std::getline(std::cin, line);
    std::istringstream numbers(line);
    std::string name;
    Array x;
    int64_t bytes, before, dims;
    numbers >> name >> x.dtype >> bytes >> before >> dims;
    x.size.resize(dims);
    x.stride.resize(dims);
    for (int64_t& size : x.size) numbers >> size;
    for (int64_t& stride : x.stride) numbers >> stride;
    if (!numbers) stop("a tensor must be described as driver.py does; got " + line);
    x.block.reset(new char[bytes]);
    std::cin.read(x.block.get(), bytes);
    x.data = x.block.get() + before;
    arrays[name] = std::move(x);
  }
  return true;
}

void Call::run() {
  if (!entries().count(op)) stop("there must be an entry for the op; got " + op);
  results.clear();
  scratches.clear();
  set_threads(threads);
  const Pieces& pieces = entries()[op];
  const uint64_t launches = emulate::launches;
  (array("b").dtype == "float64" ? pieces.in_double : pieces.in_float)(*this);
  for (const Block& result : results)
    if (device == Device::cuda && result.bytes > 0 && emulate::launches == launches)
      stop("results on CUDA must come from a kernel; got none for " + op);
}

PairShape Call::shape(const std::string& a, const std::string& b) const {
  const Array &left = array(a), &right = array(b);
  PairShape shape = {right.size[0], right.size[1], number("bias"), right.size[2]};
  int64_t features = left.dtype == "int64" ? number("in_features") : 1;
  if (left.dtype != "int64")
    for (size_t d = 1 + number("t_dims"); d < left.size.size(); ++d) features *= left.size[d];
  shape.I += features;
  return shape;
}

char* Call::room(Blocks& blocks, size_t bytes) {
  blocks.push_back({std::unique_ptr<char[]>(new char[bytes]), bytes});
  std::memset(blocks.back().data.get(), 0xff, bytes);
  return blocks.back().data.get();
}

void Call::check(const char* error) {
  if (error) stop(error);
}

}  // namespace infotorch

int main() {
  using namespace infotorch;
  std::ios::sync_with_stdio(false);
  for (Call call; call.read(); call = {}) {
    emulate::seed = call.seed;
    call.run();
    const Blocks first = std::move(call.results);
    ++emulate::seed;
    call.run();
    std::cout << first.size() << '\n';
    for (size_t k = 0; k < first.size(); ++k) {
      const auto& [data, bytes] = first[k];
      if (std::memcmp(data.get(), call.results[k].data.get(), bytes)) stop("bits must not depend on the schedule");
      std::cout << bytes << '\n';
      std::cout.write(data.get(), bytes);
    }
    std::cout.flush();
  }
}
