// The factors of kron sketches: normal numbers, a function of their place. Drawing them costs more than multiplying a
// small batch by them, so the last ones are kept.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "draws.h"
#include "pack.h"

namespace infotorch::cpu {

// One factor of a sketch, [features, columns].
struct Factor {
  Source source;
  Draw draw;
  int64_t columns;

  int64_t stride() const { return panel_stride(columns); }

  // Rows first ... last, `stride()` apart, with zeros up to a whole vector.
  template <typename scalar_t>
  void rows(int64_t first, int64_t last, scalar_t* to) const {
    constexpr int64_t run = 1024;  // numbers drawn at once: a row may be short
    const int64_t most = std::max<int64_t>(1, run / columns);
    std::vector<scalar_t> drawn(std::min(most, last - first) * columns);
    for (int64_t r = first; r < last; r += most) {
      const int64_t here = std::min(most, last - r);
      draw_normals(source, draw, r * columns, here * columns, drawn.data());
      for (int64_t k = 0; k < here; ++k, to += stride())
        std::fill(std::copy_n(drawn.data() + k * columns, columns, to), to + padded(columns), scalar_t(0));
    }
  }
};

// Whole factors, shared by the process: at most kMost bytes for each scalar_t. Layers take turns, batch after batch, so
// one that is kept makes way only when it wasn't asked for in a long while.
template <typename scalar_t>
class KeptFactors {
 public:
  using Numbers = std::shared_ptr<const Scratch<scalar_t>>;

  // The factor's `features` rows, kept or from draw().
  template <typename Make>
  static Numbers get(const Factor& factor, int64_t features, const Make& draw) {
    static KeptFactors& kept = *new KeptFactors;  // never destroyed: a thread may outlive what is static
    const Key key = {factor, features};
    if (Numbers found = kept.find(key)) return found;
    const Numbers drawn = draw();
    kept.keep(key, drawn);
    return drawn;
  }

 private:
  static constexpr int64_t kMost = int64_t{32} << 20;  // bytes
  static constexpr int64_t kPatience = 1024;           // requests until a factor that none of them was for makes way

  struct Key {
    Factor factor;
    int64_t features;
    int64_t bytes() const { return features * factor.stride() * sizeof(scalar_t); }
    bool operator==(const Key& other) const {
      const Source &x = factor.source, &y = other.factor.source;
      return x.seed == y.seed && x.hash == y.hash && factor.draw == other.factor.draw &&
             factor.columns == other.factor.columns && features == other.features;
    }
  };
  struct Entry {
    Key key;
    Numbers numbers;
    int64_t asked;  // when, in requests
  };

  typename std::vector<Entry>::iterator at(const Key& key) {
    return std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.key == key; });
  }

  // Neither waits: a process that was forked while another thread held the lock would wait for ever.
  Numbers find(const Key& key) {
    const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
    if (!lock) return nullptr;
    ++requests;
    const auto found = at(key);
    if (found == entries.end()) return nullptr;
    found->asked = requests;
    return found->numbers;
  }

  void keep(const Key& key, const Numbers& numbers) {
    const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
    if (!lock || at(key) != entries.end()) return;
    const auto stale = [&](const Entry& entry) { return requests - entry.asked > kPatience; };
    entries.erase(std::remove_if(entries.begin(), entries.end(), stale), entries.end());
    int64_t bytes = key.bytes();
    for (const Entry& entry : entries) bytes += entry.key.bytes();
    if (bytes <= kMost) entries.push_back({key, numbers, requests});
  }

  std::mutex mutex;
  std::vector<Entry> entries;
  int64_t requests = 0;
};

}  // namespace infotorch::cpu
