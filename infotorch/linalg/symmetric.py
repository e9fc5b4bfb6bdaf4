"""Properties of a symmetric matrix, found without a second matrix of its size."""

import torch
from torch import Tensor

TILE = 512
STRIP = 128
"""Rows of a triangle that are held together."""


def asymmetry(K: Tensor) -> float:
    """Largest |K - K.T| of a square matrix; NaN where K holds one."""
    m = K.shape[0]
    difference = K.new_empty(min(m, TILE), min(m, TILE))  # one for all tiles, or the heap grows by a tile at a time
    largest = K.new_zeros(())
    for i in range(0, m, TILE):
        for j in range(i, m, TILE):
            upper, lower = K[i : i + TILE, j : j + TILE], K[j : j + TILE, i : i + TILE]
            part = difference[: upper.shape[0], : upper.shape[1]]
            torch.sub(upper, lower.mT, out=part)
            torch.maximum(largest, part.abs_().max(), out=largest)  # keeps NaN
    return float(largest)


def inverse(A: Tensor) -> Tensor | None:
    """Inverse of a symmetric positive definite matrix; None where Cholesky finds it is not.

    On the CPU it takes A's own storage, A contiguous.
    """
    if A.device.type != "cpu":  # only LAPACK is known to work in place
        factor, info = torch.linalg.cholesky_ex(A)
        return None if info != 0 else torch.cholesky_inverse(factor)
    columns = A.mT  # LAPACK's order, so that neither step copies
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    if info != 0:
        return None
    torch.cholesky_inverse(columns, out=columns)
    return columns.mT


def is_positive_definite(A: Tensor, shift: float) -> bool:
    """Whether Cholesky of A + shift I goes through; one copy of A for the while."""
    columns = A.clone(memory_format=torch.contiguous_format).mT
    columns.diagonal().add_(shift)
    if A.device.type != "cpu":
        return bool(torch.linalg.cholesky_ex(columns).info == 0)
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    return bool(info == 0)


def mirror(matrix: Tensor, step: int = 128) -> None:
    """Copy the lower triangle onto the upper, some rows at a time and in place."""
    for i in range(0, len(matrix), step):
        matrix[:i, i : i + step] = matrix[i : i + step, :i].mT
        diagonal = matrix[i : i + step, i : i + step]
        diagonal.copy_(diagonal.tril() + diagonal.tril(-1).mT)


class LowerTriangle:
    """Symmetric matrices [groups, n, n] in float64 at half of their memory: strips of rows, up to the diagonal."""

    def __init__(self, matrices: Tensor) -> None:
        """A copy of matrices [groups, n, n] of any dtype, symmetric to the bit."""
        self.shape = matrices.shape
        self.strips = [strip.to(torch.float64, copy=True) for strip in self._strips(matrices)]

    def add_(self, matrices: Tensor) -> None:
        """In place, of any dtype."""
        for total, strip in zip(self.strips, self._strips(matrices), strict=True):
            total += strip

    def full(self) -> Tensor:
        """[groups, n, n], written out."""
        matrices = self.strips[0].new_empty(self.shape)
        for lower, strip in zip(self._strips(matrices), self.strips, strict=True):
            lower.copy_(strip)
        for matrix in matrices:
            mirror(matrix)
        return matrices

    def diagonal(self) -> Tensor:
        """[groups, n]."""
        return torch.cat([strip.diagonal(i * STRIP, 1, 2) for i, strip in enumerate(self.strips)], 1)

    def _strips(self, matrices: Tensor) -> list[Tensor]:
        return [matrices[:, i : i + STRIP, : i + STRIP] for i in range(0, self.shape[1], STRIP)]
