// The random numbers of philox.h, many at a time.
#pragma once

#include "../philox.h"

namespace infotorch::cpu {

// to[q] = entry(source, j + q step, k), q < count.
void draw_entries(const Source& source, uint64_t j, uint64_t step, int64_t count, int64_t k, Entry* to);

// to[q] = normal(source, factor, j + q), q < count.
void draw_normals(const Source& source, Draw factor, uint64_t j, int64_t count, float* to);
void draw_normals(const Source& source, Draw factor, uint64_t j, int64_t count, double* to);

}  // namespace infotorch::cpu
