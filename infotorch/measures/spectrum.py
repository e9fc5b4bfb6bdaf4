"""A kernel's eigendecomposition, once it is known to be a kernel; and the refusals that eigenvalues decide."""

import torch
from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.linalg.eigen import Eigen, eigh, extreme_eigenvalues
from infotorch.linalg.symmetric import is_positive_definite

EPS = torch.finfo(torch.float64).eps


def spectrum(
    where: str, kernel: Tensor, *, input_eps: float, limit_ridge: float | None = None, overwrite: bool = False
) -> Eigen:
    """Eigenvectors and eigenvalues >= 0, those that are rounding of 0 set to 0.

    Exact zeros matter: a direction that the kernel maps to 0 grows with time and is never trained, so its eigenvalue
    must not be 1e-17.

    Args:
        where: Named first in the refusals.
        kernel: Symmetric, [m, m], float64.
        input_eps: Rounding of the dtype that the kernel came in.
        limit_ridge: Smallest ridge of a training that runs to convergence; None where there is none.
        overwrite: Let the eigenvectors take the kernel's memory.

    Raises:
        NumericsError: An eigenvalue is below -100 m input_eps times the largest, or K + limit_ridge I is singular.
    """
    eigen = eigh(kernel, overwrite=overwrite)
    smallest, largest = float(eigen.values[0]), float(eigen.values[-1])
    if not smallest >= -_allowed_negative(len(kernel), largest, input_eps):  # NaN is refused too
        raise indefinite(where, smallest, largest)
    noise = len(kernel) * EPS
    if limit_ridge is not None and not max(smallest, 0.0) + limit_ridge > noise * (largest + limit_ridge):
        raise singular(where, smallest + limit_ridge, largest + limit_ridge)
    return Eigen(values=eigen.values.where(eigen.values > noise * largest, 0.0), vectors=eigen.vectors)


def refuse_indefinite(where: str, kernel: Tensor, input_eps: float) -> None:
    """The first refusal of :func:`spectrum` for a price of one Cholesky factorization.

    Raises:
        NumericsError: An eigenvalue is below -100 m input_eps times the largest.
    """
    smallest, largest = extreme_eigenvalues(kernel)
    allowed = _allowed_negative(len(kernel), largest, input_eps)
    if smallest >= -allowed and is_positive_definite(kernel, allowed or torch.finfo(kernel.dtype).tiny):
        return
    smallest = float(torch.linalg.eigvalsh(kernel)[0])
    if smallest < -allowed:
        raise indefinite(where, smallest, largest)


def not_definite(where: str, kernel: Tensor, input_eps: float, ridge: float) -> NumericsError:
    """Why Cholesky of K + ridge I broke down: K itself is indefinite, or the sum is singular."""
    values = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(values[0]), float(values[-1])
    if smallest < -_allowed_negative(len(kernel), largest, input_eps):
        return indefinite(where, smallest, largest)
    return singular(where, smallest + ridge, largest + ridge)


def _allowed_negative(m: int, largest: float, input_eps: float) -> float:
    return 100 * m * input_eps * abs(largest)


def singular(where: str, smallest: float, largest: float) -> NumericsError:
    return NumericsError(
        f"{where}: K + ridge*I must be positive definite at t=inf; "
        f"got smallest eigenvalue {smallest:.1e} of largest {largest:.1e}. Give ridge > 0 or a finite time."
    )


def indefinite(where: str, smallest: float, largest: float) -> NumericsError:
    return NumericsError(
        f"{where}: K must be positive semidefinite; got smallest eigenvalue {smallest:.1e} of largest {largest:.1e}. "
        "Build K = J J^T in float64 from one forward pass in eval mode."
    )
