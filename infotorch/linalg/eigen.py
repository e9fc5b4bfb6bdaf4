"""Eigendecomposition of a kernel, and its extreme eigenvalues alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.linalg.lanczos import lanczos, quadrature


@dataclass(frozen=True, kw_only=True)
class Eigen:
    """K = vectors.T @ diag(values) @ vectors: an eigenvector is a row."""

    values: Tensor
    """Eigenvalues, increasing, [m], float64."""
    vectors: Tensor
    """Eigenvectors, one a row, [m, m], float64, contiguous."""


def eigh(K: Tensor, *, overwrite: bool = False) -> Eigen:
    """Eigendecomposition of a symmetric float64 matrix [m, m].

    LAPACK's divide and conquer needs 2 m² numbers beside the matrix that it turns into eigenvectors. ``overwrite``
    gives it K's own storage (K must be contiguous and on the CPU), which saves the fourth m².
    """
    if K.device.type != "cpu":  # only LAPACK is known to work in place
        values, columns = torch.linalg.eigh(K)
        return Eigen(values=values, vectors=columns.mT.contiguous())
    columns = (K if overwrite else K.clone(memory_format=torch.contiguous_format)).mT
    values = torch.empty(K.shape[0], dtype=K.dtype, device=K.device)
    torch.linalg.eigh(columns, out=(values, columns))
    return Eigen(values=values, vectors=columns.mT)


def extreme_eigenvalues(K: Tensor, num_steps: int = 80) -> tuple[float, float]:
    """Smallest and largest eigenvalue of a symmetric matrix, by Lanczos with full reorthogonalization.

    The largest of a kernel is well separated and comes out to rounding. The smallest is an upper bound of the true one,
    unless m <= 400: then both are LAPACK's.
    """
    m = K.shape[0]
    if m <= 400:
        values = torch.linalg.eigvalsh(K)
        return float(values[0]), float(values[-1])
    start = torch.randn(m, dtype=K.dtype, generator=torch.Generator().manual_seed(0)).to(K.device)
    values, _ = quadrature(*lanczos(K.matmul, start, num_steps))
    return float(values[0]), float(values[-1])
