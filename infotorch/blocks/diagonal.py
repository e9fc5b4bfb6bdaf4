"""The diagonal of a curvature matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.errors import ShapeError
from infotorch.linalg.definite import checked_eigenvalues, log_sum
from infotorch.linalg.eigen import Eigen

__all__ = ["Diagonal"]


@dataclass(frozen=True, kw_only=True)
class Diagonal(Block):
    """Zero off the diagonal."""

    values: Tensor
    """[P], float64."""

    def __post_init__(self) -> None:
        if self.values.shape != (self.P,) or self.values.dtype != torch.float64:
            raise ShapeError(
                f"block: values must be float64 [{self.P}]; got {self.values.dtype} {list(self.values.shape)}. "
                "Pass one number an element of the parameters."
            )

    def diag(self) -> Tensor:
        return self.values.clone()

    def eigenvalues(self) -> Tensor:
        return checked_eigenvalues("block.eigenvalues", self.values.sort().values)

    def _dense(self) -> Tensor:
        return self.values.diag()

    def _matmul(self, V: Tensor) -> Tensor:
        return self.values[:, None] * V

    def _solve(self, V: Tensor, damping: float) -> Tensor:
        log_sum("block.solve", self.values, damping, "damping")  # refuses what has no inverse
        return V / (self.values + damping)[:, None]

    def _logdet(self, damping: float) -> float:
        return log_sum("block.logdet", self.values, damping, "damping")

    def _eigh(self) -> Eigen:
        values, places = self.values.sort()
        unit = torch.eye(self.P, dtype=torch.float64, device=values.device)
        return Eigen(values=checked_eigenvalues("block.eigh", values), vectors=unit[places])
