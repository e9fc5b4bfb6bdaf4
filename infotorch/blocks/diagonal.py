"""The diagonal of a curvature matrix."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.blocks.layout import split
from infotorch.errors import ShapeError
from infotorch.linalg.definite import checked_eigenvalues, log_sum
from infotorch.linalg.eigen import Eigen

__all__ = ["Diagonal"]


@dataclass(frozen=True, kw_only=True)
class Diagonal(Block):
    """Zero off the diagonal."""

    values: dict[str, Tensor]
    """{name: [*shape]} of every parameter: in the forward's dtype for one batch, in float64 for a sum over several."""

    def __post_init__(self) -> None:
        got = {name: part.shape for name, part in self.values.items()}
        if got != self.shapes:
            raise ShapeError(
                f"block: values must be {_listed(self.shapes)}; got {_listed(got)}. "
                "Pass one number an element of the parameters."
            )

    def diag(self) -> Tensor:
        flat = next(iter(self.values.values())).new_empty(self.P, dtype=torch.float64)
        for name, part in split(flat, self.shapes).items():
            part.copy_(self.values[name])
        return flat

    def eigenvalues(self) -> Tensor:
        return checked_eigenvalues("block.eigenvalues", self.diag().sort().values)

    def _dense(self) -> Tensor:
        return self.diag().diag()

    def _matmul(self, V: Tensor) -> Tensor:
        return self.diag()[:, None] * V

    def _solve(self, V: Tensor, damping: float) -> Tensor:
        values = self.diag()
        log_sum("block.solve", values, damping, "damping")  # refuses what has no inverse
        return V / (values + damping)[:, None]

    def _logdet(self, damping: float) -> float:
        return log_sum("block.logdet", self.diag(), damping, "damping")

    def _eigh(self) -> Eigen:
        values, places = self.diag().sort()
        unit = torch.eye(self.P, dtype=torch.float64, device=values.device)
        return Eigen(values=checked_eigenvalues("block.eigh", values), vectors=unit[places])


def _listed(shapes: Mapping[str, torch.Size]) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in shapes.items()}
