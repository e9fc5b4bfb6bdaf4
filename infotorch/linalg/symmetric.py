"""Properties of a symmetric matrix, found without a second matrix of its size."""

import torch
from torch import Tensor

TILE = 1024


def asymmetry(K: Tensor) -> float:
    """Largest |K - K.T| of a square matrix; NaN where K holds one."""
    m = K.shape[0]
    tiles = [
        (K[i : i + TILE, j : j + TILE] - K[j : j + TILE, i : i + TILE].mT).abs().max()
        for i in range(0, m, TILE)
        for j in range(i, m, TILE)
    ]
    return float(torch.stack(tiles).max())


def inverse(A: Tensor) -> Tensor | None:
    """Inverse of a symmetric positive definite matrix in A's own storage; None where Cholesky finds it is not."""
    columns = A.mT  # LAPACK's order, so that neither step copies
    info = torch.empty((), dtype=torch.int32, device=A.device)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    if info != 0:
        return None
    torch.cholesky_inverse(columns, out=columns)
    return columns.mT


def is_positive_definite(A: Tensor, shift: float) -> bool:
    """Whether Cholesky of A + shift I goes through; one copy of A for the while."""
    columns = A.clone(memory_format=torch.contiguous_format).mT
    columns.diagonal().add_(shift)
    info = torch.empty((), dtype=torch.int32, device=A.device)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    return bool(info == 0)
