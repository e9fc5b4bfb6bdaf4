"""Solves, log-determinants and eigenvalues of positive semi-definite matrices in float64, or words that say why not."""

import math

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError
from infotorch.linalg.eigen import Eigen, eigh

__all__ = ["Cholesky", "check_shift", "checked_eigenvalues", "checked_eigh", "log_sum"]


COLUMNS = 512
"""Of an inverse, that are formed at once."""


def check_shift(where: str, name: str, shift: float) -> float:
    """What is added to the diagonal: finite and at least 0."""
    if not (0 <= shift < math.inf):
        raise ConfigError(
            f"{where}: {name} must be finite and at least 0; got {shift}. Pass what to add to eigenvalues."
        )
    return float(shift)


class Cholesky:
    """A + shift I = L L^T of a symmetric float64 matrix A [m, m]; ``overwrite`` takes A's own storage, contiguous.

    Raises:
        NumericsError: A + shift I is not positive definite.
    """

    def __init__(self, where: str, A: Tensor, shift: float, name: str, *, overwrite: bool = False) -> None:
        columns = A.mT if overwrite else A.clone()
        columns.diagonal().add_(shift)
        if overwrite and A.device.type == "cpu":  # only LAPACK is known to work in place
            info = torch.empty((), dtype=torch.int32)
            torch.linalg.cholesky_ex(columns, out=(columns, info))
            self.L = columns
        else:
            self.L, info = torch.linalg.cholesky_ex(columns)
        if info != 0 or not bool(self.L.diagonal().isfinite().all()):
            raise _indefinite(where, name, shift, f"a pivot at row {max(0, int(info) - 1)} that is not above 0")

    def solve(self, V: Tensor) -> Tensor:
        """(A + shift I)^-1 V for V [m, J]."""
        return torch.cholesky_solve(V, self.L)

    def logdet(self) -> float:
        """The log-determinant of A + shift I."""
        return 2 * float(self.L.diagonal().log().sum())

    def inverse_trace(self) -> float:
        """The trace of (A + shift I)^-1: the squares of L^-1, of which some columns at a time are formed."""
        m, total = len(self.L), 0.0
        for start in range(0, m, COLUMNS):
            unit = self.L.new_zeros(m - start, min(COLUMNS, m - start)).fill_diagonal_(1.0)
            below = torch.linalg.solve_triangular(self.L[start:, start:], unit, upper=False)
            total += float(below.square_().sum())
        return total


def log_sum(where: str, eigenvalues: Tensor, shift: float, name: str) -> float:
    """The sum of log(eigenvalue + shift).

    Raises:
        NumericsError: One of them is not above 0.
    """
    shifted = eigenvalues + shift
    smallest = float(shifted.min()) if len(shifted) else 1.0
    if not smallest > 0:
        raise _indefinite(where, name, shift, f"an eigenvalue of {smallest:.3g} in all")
    return float(shifted.log().sum())


def checked_eigenvalues(where: str, values: Tensor, summed_in: torch.dtype = torch.float64) -> Tensor:
    """Eigenvalues of what is positive semi-definite, with those that rounding made negative at 0.

    ``summed_in`` is the dtype in which the matrix was summed, whose rounding it has.

    Raises:
        NumericsError: One is further below 0 than rounding reaches, or not finite.
    """
    if not len(values):
        return values
    reach = torch.finfo(summed_in).eps * len(values) * float(values.abs().max())
    if not float(values.min()) >= -reach:
        raise NumericsError(
            f"{where}: the matrix must be positive semi-definite; got an eigenvalue of {float(values.min()):.3g} "
            f"beside {float(values.max()):.3g}. Look at the gradients that it is made of."
        )
    return values.clamp(min=0)


def checked_eigh(where: str, A: Tensor, summed_in: torch.dtype = torch.float64, *, overwrite: bool = False) -> Eigen:
    """Eigendecomposition of a symmetric float64 matrix that is positive semi-definite; ``overwrite`` as ``eigh`` does.

    Raises:
        NumericsError: It is not, beyond rounding, or not finite.
    """
    if not bool(A.isfinite().all()):
        raise NumericsError(f"{where}: the matrix must be finite; got NaN or infinity. Look at the gradients of it.")
    found = eigh(A, overwrite=overwrite)
    return Eigen(values=checked_eigenvalues(where, found.values, summed_in), vectors=found.vectors)


def _indefinite(where: str, name: str, shift: float, got: str) -> NumericsError:
    return NumericsError(
        f"{where}: the matrix must be positive definite with {name}={shift:g}; got {got}. Raise {name}."
    )
