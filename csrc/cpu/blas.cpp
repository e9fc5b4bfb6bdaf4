#include "blas.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "simd.h"
#include "tile.h"

#if INFOTORCH_HAS_TARGETS
#include <cpuid.h>

// What torch's library has of MKL, if it was built with it; nothing of these is linked otherwise.
#define INFOTORCH_GEMM(NAME, stored_t, scalar_t)                                                                     \
  extern "C" __attribute__((weak)) void NAME(                                                                        \
      const char* x_op, const char* y_op, const int32_t* cols, const int32_t* rows, const int32_t* depth,            \
      const scalar_t* alpha, const stored_t* x, const int32_t* x_stride, const stored_t* y, const int32_t* y_stride, \
      const scalar_t* beta, scalar_t* out, const int32_t* out_stride)
INFOTORCH_GEMM(sgemm_, float, float);
INFOTORCH_GEMM(dgemm_, double, double);
INFOTORCH_GEMM(gemm_bf16bf16f32_, infotorch::BFloat16, float);
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int threads);
#endif

namespace infotorch::cpu {

#if INFOTORCH_HAS_TARGETS

namespace {

bool has_mkl() { return MKL_Set_Num_Threads_Local && sgemm_ && dgemm_; }

// MKL takes AVX-512 on Intel's processors alone; on others its tiles are AVX2's, and ours are faster.
bool is_mkl_faster() { return __builtin_cpu_is("intel") && vector_bytes() == 64; }

// Without tiles of bfloat16 (AMX) MKL is no faster than float32.
bool has_bfloat16_tiles() {
  constexpr unsigned amx_bf16 = 1u << 22;
  unsigned eax, ebx, ecx, edx;
  return gemm_bf16bf16f32_ && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & amx_bf16);
}

// MKL would share a call out, or prepare to, though all threads have work of their own.
class OneThread {
 public:
  OneThread() : before_(MKL_Set_Num_Threads_Local(1)) {}
  ~OneThread() { MKL_Set_Num_Threads_Local(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const int before_;
};

// Fortran's matrices have columns where ours have rows: x is the first of them.
template <typename stored_t, typename scalar_t, typename Gemm>
void multiply(const Gemm& gemm, const Stored& x, int64_t cols, const Stored& y, int64_t rows, int64_t depth, bool add,
              scalar_t* out, int64_t out_stride) {
  const OneThread one_thread;
  const int32_t m = cols, n = rows, x_stride = x.stride, y_stride = y.stride, stride = out_stride;
  const scalar_t one = 1;
  int64_t k0 = 0;
  do {  // once even if there are no terms
    const int32_t k = std::min(kBlasTerms, depth - k0);
    const scalar_t beta = add || k0 > 0;
    gemm(x.turned ? "T" : "N", y.turned ? "N" : "T", &m, &n, &k, &one,
         static_cast<const stored_t*>(x.data) + k0 * (x.turned ? 1 : x.stride), &x_stride,
         static_cast<const stored_t*>(y.data) + k0 * (y.turned ? 1 : y.stride), &y_stride, &beta, out, &stride);
    k0 += k;
  } while (k0 < depth);
}

}  // namespace

void blas_product(const Stored& x, int64_t cols, const Stored& y, int64_t rows, int64_t depth, bool add, float* out,
                  int64_t out_stride) {
  if (x.storage == Storage::bfloat16)
    multiply<BFloat16>(gemm_bf16bf16f32_, x, cols, y, rows, depth, add, out, out_stride);
  else
    multiply<float>(sgemm_, x, cols, y, rows, depth, add, out, out_stride);
}

void blas_product(const Stored& x, int64_t cols, const Stored& y, int64_t rows, int64_t depth, bool add, double* out,
                  int64_t out_stride) {
  multiply<double>(dgemm_, x, cols, y, rows, depth, add, out, out_stride);
}

#else

namespace {

bool has_mkl() { return false; }
bool is_mkl_faster() { return false; }
bool has_bfloat16_tiles() { return false; }

}  // namespace

// Never called: no BLAS is fast here.
void blas_product(const Stored&, int64_t, const Stored&, int64_t, int64_t, bool, float*, int64_t) {}
void blas_product(const Stored&, int64_t, const Stored&, int64_t, int64_t, bool, double*, int64_t) {}

#endif

namespace {

bool takes_mkl() {
  const char* const variable = std::getenv("INFOTORCH_MKL");
  const std::string asked = variable ? variable : "";
  if (asked.empty()) return has_mkl() && is_mkl_faster();
  if (asked != "0" && asked != "1")
    throw std::invalid_argument("INFOTORCH_MKL: must be 0 or 1; got " + asked + ". Unset it to have the faster one.");
  if (asked == "1" && !has_mkl())
    throw std::invalid_argument(
        "INFOTORCH_MKL: 1 needs torch's MKL, and a build by GCC on x86-64 Linux; got no such pair. Unset it.");
  return asked == "1";
}

}  // namespace

bool has_fast_blas(Storage storage) {
  static const bool mkl = takes_mkl(), bfloat16 = mkl && has_bfloat16_tiles();
  return storage == Storage::same ? mkl : storage == Storage::bfloat16 && bfloat16;
}

}  // namespace infotorch::cpu
