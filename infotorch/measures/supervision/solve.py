"""The quadratic forms of all targets from one factor of a kernel, and reports of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError, check_choice, check_whole
from infotorch.linalg.brackets import EPS
from infotorch.linalg.definite import Cholesky
from infotorch.linalg.eigen import eigh, extreme_eigenvalues
from infotorch.linalg.symmetric import is_positive_definite
from infotorch.measures.supervision.inputs import NOISE, WHERE, Kernel, Ridges, check_noise
from infotorch.measures.supervision.report import ComplexityReport, Number

__all__ = ["LARGEST", "Solved", "Solver", "by_matrix", "check_solver", "report_of"]

Solver = Literal["auto", "cholesky", "lanczos"]
LARGEST = 8192
"""Rows of the largest kernel that is factorised: 512 MiB, and twice that for the factor and a copy."""
SINGULAR = 1e-9
"""Least smallest eigenvalue, relative to the largest, of a kernel without ridge."""

Solved = dict[str, Any]
"""Fields of a report that differ by ridge: one of them, or for several a list."""


def check_solver(solver: str, rows: int, *, dense: bool, tol: float, max_iter: int | None = None) -> str:
    """``cholesky`` or ``lanczos``; ``dense`` is what a factorisation alone can give."""
    check_choice(WHERE, "solver", solver, ("auto", "cholesky", "lanczos"))
    if not isinstance(tol, int | float) or not 0 <= tol < math.inf:
        raise ConfigError(f"{WHERE}: tol must be at least 0 and finite; got {tol!r}. Pass a relative width, as 1e-3.")
    if max_iter is not None:
        check_whole(WHERE, "max_iter", max_iter, 1)
    if solver == "lanczos" and dense:
        raise ConfigError(
            f"{WHERE}: spectrum=True, several ridges and ridge=0 need a factorisation; got solver='lanczos'. "
            "Pass one ridge above 0 at a time, or solver='cholesky'."
        )
    if solver == "lanczos" or (solver == "auto" and rows > LARGEST and not dense):
        return "lanczos"
    if rows > LARGEST:
        raise ConfigError(
            f"{WHERE}: a factorisation takes kernels of at most N*C = {LARGEST} rows; got {rows}. "
            "Pass solver='lanczos' with one ridge above 0, or fewer samples."
        )
    return "cholesky"


def by_matrix(kernel: Kernel, residuals: Mapping[str, Tensor], ridges: Ridges, *, spectrum: bool) -> dict[str, Solved]:
    """Fields by target from one factor of the kernel, of all targets and ridges."""
    mean_diagonal = kernel.trace / (kernel.N * kernel.C)
    rho = ridges.absolute(mean_diagonal)
    K, R = kernel.matrix, torch.cat([kernel.columns(r) for r in residuals.values()], 1)  # [m, T q]
    least = min([each for each in rho if each > 0 or kernel.eps > EPS], default=math.inf)
    if kernel.eps > EPS or least < NOISE["float64"] * float(K.diagonal().sum()):  # else it can't be too small
        smallest, largest = extreme_eigenvalues(K)
        if kernel.eps > EPS or smallest <= SINGULAR * largest:
            check_noise(least, ridges, mean_diagonal, kernel.eps, largest)
    spectral = spectrum or len(rho) > 1 or min(rho) == 0
    found = _by_eigh(kernel, R, rho) if spectral else _by_cholesky(kernel, R, rho[0])
    KR, frobenius = K @ R, kernel.frobenius()
    q = R.shape[1] // len(residuals)
    result = {}
    for t, (name, r) in enumerate(residuals.items()):
        own = slice(t * q, (t + 1) * q)
        fields: Solved = {key: [float(part(each[key], own)) for each in found.by_ridge] for key, part in _PARTS.items()}
        square = float(r.square().sum())
        fields |= {"lower": fields["quad"], "upper": fields["quad"], "ridge": list(rho), "iterations": 0}
        fields["norm"] = [math.sqrt(max(0.0, value)) for value in fields["norm"]]
        fields["alignment"] = float((R[:, own] * KR[:, own]).sum()) / (frobenius * square) if square else math.nan
        if spectrum and found.eigenvalues is not None and found.squares is not None:
            # The last number of decreasing eigenvalues is all of r; without a residual there are no shares.
            shares = found.squares[:, own].sum(1).flip(0).cumsum(0) / (square or math.nan)
            fields |= {"eigenvalues": found.eigenvalues.flip(0).cpu().numpy(),
                       "cumulative_alignment": shares.cpu().numpy()}  # fmt: skip
        result[name] = fields | {"solver": "eigh" if spectral else "cholesky"}
    return result


@dataclass(frozen=True, kw_only=True)
class _Found:
    """By ridge: squares whose sums over columns are quad and norm, and the solution's residual, [T q] each."""

    by_ridge: list[dict[str, Tensor]]
    eigenvalues: Tensor | None = None
    squares: Tensor | None = None
    """Squared coefficients of the residuals in the eigenvectors, [m, T q]."""


_PARTS: dict[str, Callable[[Tensor, slice], Tensor]] = {
    "quad": lambda values, own: values[own].sum(),
    "norm": lambda values, own: values[own].sum(),
    "residual": lambda values, own: values[own].max(),
}


def _by_cholesky(kernel: Kernel, R: Tensor, rho: float) -> _Found:
    K = kernel.matrix
    slack = _slack(kernel) * float(K.diagonal().sum())
    if slack < rho and not is_positive_definite(K, slack):
        raise NumericsError(
            f"{WHERE}: K must be positive semi-definite; got an eigenvalue below {-slack:.1e} beside a trace of "
            f"{float(K.diagonal().sum()):.1e}. Look at what it is made of."
        )
    factor = Cholesky(WHERE, K, rho, "ridge")
    z = torch.linalg.solve_triangular(factor.L, R, upper=False)
    a = torch.linalg.solve_triangular(factor.L.mT, z, upper=True)
    Ka = K @ a
    rest = (Ka + rho * a - R).abs().amax(0)
    return _Found(by_ridge=[{"quad": z.square().sum(0), "norm": (a * Ka).sum(0), "residual": rest}])


def _by_eigh(kernel: Kernel, R: Tensor, ridges: tuple[float, ...]) -> _Found:
    K = kernel.matrix
    eigen = eigh(K)
    smallest, largest = float(eigen.values[0]), float(eigen.values[-1])
    if not smallest >= -_slack(kernel) * largest:
        raise NumericsError(
            f"{WHERE}: K must be positive semi-definite; got an eigenvalue of {smallest:.3g} beside {largest:.3g}. "
            "Look at what it is made of."
        )
    if min(ridges) == 0 and not smallest > SINGULAR * largest:
        raise NumericsError(
            f"{WHERE}: K must be numerically positive definite for ridge=0; got lambda_min/lambda_max="
            f"{smallest / largest:.1e}. Pass ridge > 0."
        )
    # Eigenvalues that rounding made negative count as 0, so that a small ridge stays above them.
    values = eigen.values.clamp(min=0)[:, None]
    coefficients = eigen.vectors @ R
    squares = coefficients.square()
    found = []
    for rho in ridges:
        solution = coefficients / (values + rho)
        a = eigen.vectors.mT @ solution
        found.append({
            "quad": (squares / (values + rho)).sum(0),
            "norm": (values * solution.square()).sum(0),
            "residual": (K @ a + rho * a - R).abs().amax(0),
        })  # fmt: skip
    return _Found(by_ridge=found, eigenvalues=eigen.values, squares=squares)


def _slack(kernel: Kernel) -> float:
    return max(1e-9, 10 * kernel.eps)


def report_of(fields: Solved, r: Tensor, *, single: bool, kernel_trace: float, **more: Any) -> ComplexityReport:
    """The report of one target, r [N, C]."""
    N, C = r.shape
    square = float(r.square().sum())
    ridge, quad = np.array(fields["ridge"]), np.array(fields["quad"])
    trace = kernel_trace + N * C * ridge
    derived = {
        "quad": quad, "ridge": ridge, "trace": trace, "complexity": np.sqrt(quad),
        "adjusted": np.sqrt(quad * trace) / N,
        "unit_adjusted": np.sqrt(quad * trace / (square * N)) if square else np.full(len(quad), np.nan),
        **{key: np.array(fields[key]) for key in ("lower", "upper", "norm", "residual") if fields[key] is not None},
    }  # fmt: skip

    def shaped(values: np.ndarray) -> Number:
        return float(values[0]) if single else values

    rest = {key: value for key, value in fields.items() if key not in derived}
    numbers: dict[str, Any] = {key: shaped(values) for key, values in derived.items()}
    return ComplexityReport(
        **numbers, **rest, **more, residual_norm=math.sqrt(square), kernel_trace=kernel_trace, N=N, C=C
    )  # fmt: skip
