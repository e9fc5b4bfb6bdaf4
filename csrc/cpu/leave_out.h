// Leaving rows out of shifted resolvents in an eigenbasis. See infotorch/linalg/resolvent.py for the formulas.
#pragma once

#include <cstdint>

namespace infotorch::cpu {

// Letters: m eigenvalues; n sets of b rows each; S shifts; V right-hand sides; P columns of `power`. Real parts of all
// shifts stand before their imaginary parts.
struct LeaveOut {
  int64_t m, n, b, V, S, P;
  bool first_order;    // no system is solved: gamma is its right-hand side
  const double* rows;  // [n, b, m]
  int64_t set_stride, row_stride, value_stride;
  const double *D, *H;     // [m, 2 S]
  const double* rotated;   // [m, V]
  const double* power;     // [m, P]
  const double* residual;  // [n, b, V], or null
};

// Where results go; those of a set follow from its rows alone, to the bit.
struct Removed {
  double* solution;      // [m, n, V]
  double* own;           // [n, b, V]
  double *norm, *pivot;  // [n, S]
  double* spans;         // [n, P]
};

void leave_out(const LeaveOut& of, const Removed& to);

}  // namespace infotorch::cpu
