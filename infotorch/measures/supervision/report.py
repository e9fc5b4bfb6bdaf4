"""What is said of the complexity of targets."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from infotorch import errors

__all__ = ["COLUMNS", "ComplexityReport", "ComplexityReports", "Number"]

Number = float | np.ndarray
"""A float for one ridge, float64 [R] for R of them."""
COLUMNS = ("ridge", "quad", "complexity", "adjusted", "unit_adjusted", "alignment", "trace", "residual_norm")
"""The measures in the order of the table along training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComplexityReport:
    r"""Supervision complexity of one set of targets, :math:`r^\top (K + \rho I)^{-1} r` and what is made of it.

    r are the targets less the student's own outputs. Every number is one of this kernel and these samples: a
    diagnostic. Numbers are floats; of several ridges float64 arrays [R] in their order.
    """

    quad: Number
    r""":math:`r^\top (K + \rho I)^{-1} r`; by Lanczos its lower end."""
    lower: Number
    """``quad`` itself, or the lower end of its bracket by Lanczos."""
    upper: Number
    """``quad`` itself, or the upper end of its bracket by Lanczos."""
    complexity: Number
    """The root of ``quad``; without ridge the least distance of weights at which the linearised student fits."""
    adjusted: Number
    r""":math:`\sqrt{quad\,\mathrm{Tr}(K + \rho I)} / N`: unchanged where kernel and ridge are scaled alike."""
    unit_adjusted: Number
    r""":math:`\sqrt{quad\,\mathrm{Tr}(K + \rho I) / (\|r\|^2 N)}`: unchanged by the scale of r too. NaN for r = 0."""
    alignment: float | None
    r""":math:`r^\top K r / (\|K\|_F \|r\|^2)`, in [0, 1]. None by matrix-free products, which don't give
    :math:`\|K\|_F`; NaN for r = 0."""
    trace: Number
    r""":math:`\mathrm{Tr}(K + \rho I)`."""
    residual_norm: float
    r""":math:`\|r\|`."""
    ridge: Number
    r"""The absolute :math:`\rho`."""
    norm: Number
    r"""Norm of the ridge fit of r in the kernel's space, :math:`\sqrt{a^\top K a}` with :math:`a = (K + \rho I)^{-1}
    r`; by Lanczos the root of ``upper``, which is not below it."""
    kernel_trace: float
    r""":math:`\mathrm{Tr}(K)`, without ridge."""
    max_diagonal: float
    """The largest number on K's diagonal."""
    N: int
    """Samples."""
    C: int
    """Outputs."""
    iterations: int
    """Products with K that Lanczos took; 0 for a factorisation."""
    residual: Number | None
    r"""Largest :math:`|(K + \rho I) a - r|` of a factorisation; None by Lanczos, whose error is the bracket."""
    solver: Literal["cholesky", "eigh", "lanczos"]
    """How it was computed; ``eigh`` for several ridges, ridge 0 and ``spectrum=True``."""
    kernel: Literal["full", "avg"] = "full"
    """``avg``: the mean over outputs stood for each output's kernel, an approximation with values of its own."""
    tau: float = 1.0
    """The temperature of f0."""
    fixed_kernel: bool = True
    """The kernel was chosen without these samples. False for that of a network's present weights, which may have seen
    them: then no margin bound holds. ``dataclasses.replace(report, fixed_kernel=True)`` says that they have not."""
    eigenvalues: np.ndarray | None = None
    """With ``spectrum=True``: K's eigenvalues, decreasing, float64 [N*C] ([N] for ``avg``)."""
    cumulative_alignment: np.ndarray | None = None
    """With ``spectrum=True``: share of the squared r in the first eigenvectors, float64, increasing to 1."""

    def rows(self, target: str = "targets") -> list[dict[str, Any]]:
        """A row a ridge of the table along training: target, tau and the measures of section 1, NaN as None."""
        ridges = np.atleast_1d(self.ridge)
        table = {name: np.broadcast_to(np.asarray(getattr(self, name), dtype=object), len(ridges)) for name in COLUMNS}
        return [
            {"target": target, "tau": self.tau, **{name: _plain(values[i]) for name, values in table.items()}}
            for i in range(len(ridges))
        ]

    def __str__(self) -> str:
        """The measures, a line each."""
        note = ", mean kernel over outputs (an approximation)" if self.kernel == "avg" else ""
        lines = [f"{self.N} samples, {self.C} outputs, by {self.solver}{note} (diagnostic)"]
        return "\n".join([*lines, *(f"{name:<14}{_shown(getattr(self, name))}" for name in COLUMNS)])


@dataclass(frozen=True, eq=False)
class ComplexityReports(Mapping[str, ComplexityReport]):
    """A report for each of several targets: ``reports[name]``, in the order of the targets."""

    by_name: Mapping[str, ComplexityReport]

    def __getitem__(self, name: str) -> ComplexityReport:
        errors.check_choice("supervision_complexity", "a target", name, self.by_name)
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all targets."""
        return [row for name, report in self.items() for row in report.rows(name)]


def _plain(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _shown(value: Any) -> str:
    if value is None:
        return "not known: matrix-free products don't give |K|_F"
    return "  ".join(f"{number:.6g}" for number in np.atleast_1d(value))
