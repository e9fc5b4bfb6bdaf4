#include "../grads.h"
#include "form.h"

namespace infotorch::cuda {

template <typename scalar_t>
const char* grads(const PairShape& s, const Rows<scalar_t>& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  return form(s, a, b, out, stream);
}

template <typename scalar_t>
const char* grads(const PairShape& s, const Ids& a, const Rows<scalar_t>& b, scalar_t* out, void* stream) {
  return form(s, a, b, out, stream);
}

template const char* grads(const PairShape&, const Rows<float>&, const Rows<float>&, float*, void*);
template const char* grads(const PairShape&, const Rows<double>&, const Rows<double>&, double*, void*);
template const char* grads(const PairShape&, const Ids&, const Rows<float>&, float*, void*);
template const char* grads(const PairShape&, const Ids&, const Rows<double>&, double*, void*);

}  // namespace infotorch::cuda
