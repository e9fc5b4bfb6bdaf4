// csrc/parallel.h on threads made for every call, which ThreadSanitizer follows from their start to their end.
#include <thread>
#include <vector>

#include "../../csrc/parallel.h"
#include "driver.h"

namespace infotorch {
namespace {

int count_of_threads = 1;
thread_local bool inside = false;  // a nested call runs where it is, as torch's does

}  // namespace

void set_threads(int count) { count_of_threads = count; }

int64_t num_threads() { return count_of_threads; }

void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t share = std::max({int64_t{1}, grain, (count + num_threads() - 1) / num_threads()});
  if (inside || share >= count) return body(0, count);
  std::vector<std::thread> threads;
  for (int64_t begin = 0; begin < count; begin += share)
    threads.emplace_back([&, begin] {
      inside = true;
      body(begin, std::min(begin + share, count));
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace infotorch
