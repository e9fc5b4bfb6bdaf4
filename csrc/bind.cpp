// The extension module infotorch._C. Importing it registers the ops, which lie in the same file. Functions on
// NumPy arrays are added here; tensors go through ops/*.cpp, so no torch header is included.
#include <pybind11/pybind11.h>

#include "cpu/tile.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
  m.attr("build") =
      py::dict(py::arg("cuda_archs") = "", py::arg("torch") = INFOTORCH_TORCH, py::arg("compiler") = __VERSION__,
               py::arg("instruction_set") = infotorch::cpu::instruction_set());
}
