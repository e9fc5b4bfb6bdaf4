"""A curvature matrix as it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.errors import ShapeError
from infotorch.linalg.definite import Cholesky, checked_eigh
from infotorch.linalg.eigen import Eigen

__all__ = ["Full"]


@dataclass(frozen=True, kw_only=True)
class Full(Block):
    """All of the matrix."""

    values: Tensor
    """[P, P], float64, symmetric to the bit."""

    def __post_init__(self) -> None:
        if self.values.shape != self.shape or self.values.dtype != torch.float64:
            raise ShapeError(
                f"block: values must be float64 {list(self.shape)}; got {self.values.dtype} {list(self.values.shape)}. "
                "Pass one row and column an element of the parameters."
            )

    def diag(self) -> Tensor:
        return self.values.diagonal().clone()

    def eigenvalues(self) -> Tensor:
        return self._eigh().values

    def _dense(self) -> Tensor:
        return self.values.clone()

    def _matmul(self, V: Tensor) -> Tensor:
        return self.values @ V

    def _solve(self, V: Tensor, damping: float) -> Tensor:
        return Cholesky("block.solve", self.values, damping, "damping").solve(V)

    def _logdet(self, damping: float) -> float:
        return Cholesky("block.logdet", self.values, damping, "damping").logdet()

    def _eigh(self) -> Eigen:
        return checked_eigh("block.eigh", self.values)
