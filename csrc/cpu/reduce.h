// Sums over what products leave behind.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// sum_k x[k] y[k], lane by lane in scalar_t, then in float64.
double dot(const float* x, const float* y, int64_t count);
double dot(const double* x, const double* y, int64_t count);

// sum[r] += sum_k x[k] y[r, k], r < rows, k < count, likewise.
void add_dots(const float* x, const float* y, int64_t y_stride, int64_t rows, int64_t count, double* sum);
void add_dots(const double* x, const double* y, int64_t y_stride, int64_t rows, int64_t count, double* sum);

// sum[r] += sum_k x[r, k]^2, r < rows, k < count, likewise.
void add_squares(const float* x, int64_t stride, int64_t rows, int64_t count, double* sum);
void add_squares(const double* x, int64_t stride, int64_t rows, int64_t count, double* sum);

// y[k] += scale * x[k], in the type of y.
void add_scaled(const float* x, double scale, int64_t count, float* y);
void add_scaled(const float* x, double scale, int64_t count, double* y);
void add_scaled(const double* x, double scale, int64_t count, double* y);

// sum[k] += sum_r x[r, k] y[r, k], r < rows, k < cols.
void add_column_dots(const float* x, const float* y, int64_t stride, int64_t rows, int64_t cols, float* sum);
void add_column_dots(const double* x, const double* y, int64_t stride, int64_t rows, int64_t cols, double* sum);

// sum[k] += sum_r x[r, k], r < rows, k < cols, of some rows in scalar_t, then in float64.
void add_rows(const float* x, int64_t stride, int64_t rows, int64_t cols, double* sum);
void add_rows(const double* x, int64_t stride, int64_t rows, int64_t cols, double* sum);

// out[k] = x[k] y[k], or of one number y.
void multiply(const float* x, const float* y, int64_t count, float* out);
void multiply(const double* x, const double* y, int64_t count, double* out);
void multiply(const float* x, float y, int64_t count, float* out);
void multiply(const double* x, double y, int64_t count, double* out);

// out[r, k] = y[r] x[k], k < cols.
void write_outer(const float* x, int64_t cols, const float* y, int64_t rows, float* out);
void write_outer(const double* x, int64_t cols, const double* y, int64_t rows, double* out);

// The same past the caches: for results that are larger than they, whose rows are whole lines of 64 bytes.
void stream_outer(const float* x, int64_t cols, const float* y, int64_t rows, float* out);
void stream_outer(const double* x, int64_t cols, const double* y, int64_t rows, double* out);

}  // namespace infotorch::cpu
