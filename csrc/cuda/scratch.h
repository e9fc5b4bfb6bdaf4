// Several arrays in one piece of memory that the caller allocates.
//
//   Scratch measured(nullptr);  Sizes(..., measured);  measured.bytes()     how much
//   Scratch scratch(memory);    Sizes(..., scratch);                        the same arrays, there
#pragma once

#include <cstdint>

namespace infotorch::cuda {

// What scratch is counted in. It is little under emulation, where small calls then go through every loop that a limit
// asks for.
#ifdef INFOTORCH_EMULATE
constexpr int64_t kMiB = 1 << 12;
#else
constexpr int64_t kMiB = 1 << 20;
#endif

class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <typename T>
  T* take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }

  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kAlign = 256;  // two cache lines
  char* const memory_;
  int64_t bytes_ = 0;
};

}  // namespace infotorch::cuda
