"""Inner products of Jacobians, as a block matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import ShapeError

__all__ = ["Gram"]


@dataclass(frozen=True, kw_only=True)
class Gram:
    """The kernel between the samples of a first set (rows) and a second (columns), in float64."""

    values: Tensor
    """[N, C, M, C], or [N, M] where the outputs were reduced."""
    outputs: Tensor
    """f0 of the first set, float64 [N, C]."""
    outputs2: Tensor
    """f0 of the second set, float64 [M, C]; the first set's where there is one set."""
    symmetric: bool
    """Rows and columns are the same samples; then the matrix is symmetric to the bit."""

    def __post_init__(self) -> None:
        sizes = (len(self.outputs), len(self.outputs2))
        wanted = sizes if self.values.dim() == 2 else (sizes[0], self.C, sizes[1], self.C)
        if self.values.shape != wanted or self.values.dtype != torch.float64:
            raise ShapeError(
                f"gram: values must be float64 {list(wanted)}; got {self.values.dtype} {list(self.values.shape)}. "
                "Pass outputs of the same samples."
            )

    @property
    def N(self) -> int:
        """Samples of the first set."""
        return len(self.values)

    @property
    def M(self) -> int:
        """Samples of the second set."""
        return self.values.shape[self.values.dim() // 2]

    @property
    def C(self) -> int:
        """Outputs of the model."""
        return self.outputs.shape[1]

    @property
    def matrix(self) -> Tensor:
        """[N*C, M*C], rows and columns sample-major (n*C + c); or [N, M]. A view of ``values``."""
        if self.values.dim() == 2:
            return self.values
        return self.values.view(self.N * self.C, self.M * self.C)
