#include "../project.h"
#include "project_kron.h"
#include "project_sjlt.h"

namespace infotorch::cuda {
namespace {

bool empty(const PairShape& s) { return s.N == 0 || s.T == 0 || s.I == 0 || s.O == 0; }

// Zeros: the sum of no splits.
template <typename scalar_t>
const char* nothing(const Sketch& sketch, const PairShape& s, scalar_t* out, void* stream) {
  return add_splits<scalar_t>(s.N, sketch.k, 0, nullptr, out, stream);
}

}  // namespace

template <typename scalar_t>
int64_t project_bytes(const Sketch& sketch, const PairShape& s, const Rows<scalar_t>& a) {
  Scratch measured(nullptr);
  if (empty(s)) return 0;
  if (sketch.kind == ProjectKind::sjlt)
    Sjlt<scalar_t>(sketch, s, measured);
  else
    KronSketch<scalar_t>(sketch, s, s.I - a.bias, a.storage != Storage::same, measured);
  return measured.bytes();
}

template <typename scalar_t>
int64_t project_bytes(const Sketch& sketch, const PairShape& s, const Ids& a) {
  Scratch measured(nullptr);
  if (empty(s)) return 0;
  if (sketch.kind == ProjectKind::sjlt)
    OneHotSjlt<scalar_t>(sketch, s, a.bias, measured);
  else
    KronSketch<scalar_t>(sketch, s, s.I - a.bias, sizeof(scalar_t) == sizeof(float), measured);
  return measured.bytes();
}

template <typename scalar_t>
const char* project(const Sketch& sketch, const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b,
                    void* memory, scalar_t* out, void* stream) {
  if (empty(s)) return nothing(sketch, s, out, stream);
  Scratch scratch(memory);
  return with_views(
      [&](const auto& a_view, const auto& b_view) {
        if (sketch.kind == ProjectKind::sjlt) return Sjlt<scalar_t>(sketch, s, scratch)(a_view, b_view, out, stream);
        const bool widens = a.storage != Storage::same;
        return KronSketch<scalar_t>(sketch, s, s.I - a.bias, widens, scratch)(a_view, b_view, out, stream);
      },
      Stack{a, s.N}, Stack{b, s.N});
}

template <typename scalar_t>
const char* project(const Sketch& sketch, const PairShape& s, const Ids& a, const Rows<scalar_t>& b, void* memory,
                    scalar_t* out, void* stream) {
  if (empty(s)) return nothing(sketch, s, out, stream);
  Scratch scratch(memory);
  return with_views(
      [&](const auto& b_view) {
        if (sketch.kind == ProjectKind::sjlt)
          return OneHotSjlt<scalar_t>(sketch, s, a.bias, scratch)(a, b_view, out, stream);
        const bool widens = sizeof(scalar_t) == sizeof(float);  // b may have 16 bits
        return KronSketch<scalar_t>(sketch, s, s.I - a.bias, widens, scratch)(a, b_view, out, stream);
      },
      Stack{b, s.N});
}

template int64_t project_bytes(const Sketch&, const PairShape&, const Rows<float>&);
template int64_t project_bytes(const Sketch&, const PairShape&, const Rows<double>&);
template int64_t project_bytes<float>(const Sketch&, const PairShape&, const Ids&);
template int64_t project_bytes<double>(const Sketch&, const PairShape&, const Ids&);
template const char* project(const Sketch&, const PairShape&, const Rows<float>&, const Rows<float>&, void*, float*,
                             void*);
template const char* project(const Sketch&, const PairShape&, const Rows<double>&, const Rows<double>&, void*, double*,
                             void*);
template const char* project(const Sketch&, const PairShape&, const Ids&, const Rows<float>&, void*, float*, void*);
template const char* project(const Sketch&, const PairShape&, const Ids&, const Rows<double>&, void*, double*, void*);

}  // namespace infotorch::cuda
