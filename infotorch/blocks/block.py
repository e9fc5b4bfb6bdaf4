"""What every curvature matrix can do, whatever is kept of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.layout import Vectors, check_floating, flattened, split, vectors_of
from infotorch.blocks.operator import linear_operator
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.errors import NotSupported, ShapeError, mebibytes
from infotorch.linalg.definite import check_shift
from infotorch.linalg.eigen import Eigen

__all__ = ["Block"]


@dataclass(frozen=True, kw_only=True)
class Block(ABC):
    """A symmetric positive semi-definite matrix [P, P] over the selected parameters, laid end to end in their order.

    Products, solves and determinants run in float64 and come in the dtype of what they were given.
    """

    shapes: dict[str, torch.Size]
    """Every parameter, in ``named_parameters`` order."""

    @property
    def P(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    @property
    def shape(self) -> tuple[int, int]:
        return self.P, self.P

    def __matmul__(self, v: Vectors) -> Vectors:
        """The product with v [P], [P, J], or {name: [*shape] or [J, *shape]}, in v's form and dtype."""
        return self._applied("@", v, self._matmul)

    def solve(self, v: Vectors, *, damping: float = 0.0) -> Vectors:
        """(F + damping I)^-1 v for v [P], [P, J], or {name: [*shape] or [J, *shape]}, in v's form and dtype.

        Raises:
            NumericsError: F + damping I is not positive definite.
            ShapeError: v has other names or sizes than the parameters.
        """
        check_shift("block.solve", "damping", damping)
        return self._applied("solve", v, lambda V: self._solve(V, damping))

    def logdet(self, *, damping: float = 0.0) -> float:
        """The log-determinant of F + damping I.

        Raises:
            NumericsError: F + damping I is not positive definite.
        """
        return self._logdet(check_shift("block.logdet", "damping", damping))

    def trace(self) -> float:
        """The sum of the diagonal."""
        return float(self.diag().sum())

    @abstractmethod
    def diag(self) -> Tensor:
        """The diagonal, float64 [P]."""

    @abstractmethod
    def eigenvalues(self) -> Tensor:
        """All P eigenvalues, float64, increasing.

        Raises:
            NumericsError: One is negative beyond rounding.
        """

    def eigh(self) -> Eigen:
        """Eigenvalues, increasing, and eigenvectors as rows of a float64 matrix.

        Raises:
            NotSupported: The vectors would take more than 2 GiB.
            NumericsError: An eigenvalue is negative beyond rounding.
        """
        self._check_dense("eigh", "Take eigenvalues().")
        return self._eigh()

    def dense(self) -> Tensor:
        """The matrix itself, float64 [P, P].

        Raises:
            NotSupported: It would take more than 2 GiB.
        """
        self._check_dense("dense", "Multiply with @.")
        return self._dense()

    def to_linear_operator(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator`` on float64 NumPy vectors."""
        return linear_operator("block.to_linear_operator", self.shape, lambda V: self._matmul(V), self._device())

    def _applied(self, op: str, v: Vectors, run: Callable[[Tensor], Tensor]) -> Vectors:
        if isinstance(v, Mapping):
            parts, single = vectors_of(f"block.{op}", "v", v, self.shapes)
            for name in parts:
                check_floating(f"block.{op}", f"v[{name!r}]", parts[name])
            rows = run(flattened({name: part.double() for name, part in parts.items()}, self.shapes).mT).mT  # [J, P]
            found = split(rows[0] if single else rows, self.shapes)
            return {name: part.to(v[name].dtype) for name, part in found.items()}
        if not isinstance(v, Tensor) or v.dim() not in (1, 2) or len(v) != self.P:
            got = list(v.shape) if isinstance(v, Tensor) else type(v).__name__
            raise ShapeError(
                f"block.{op}: v must be [P] or [P, J] with P = {self.P}, or a dict of the parameters; got {got}. "
                "Lay the parameters end to end in named_parameters order."
            )
        check_floating(f"block.{op}", "v", v)
        return run(v.double().view(self.P, -1)).view(v.shape).to(v.dtype)

    def _check_dense(self, what: str, todo: str) -> None:
        need = 8 * self.P**2
        if need > MEMORY_LIMIT:
            raise NotSupported(
                f"block.{what}: a matrix [P, P] must fit in {mebibytes(MEMORY_LIMIT)}; got P = {self.P}, "
                f"{mebibytes(need)}. {todo}"
            )

    def _device(self) -> torch.device:
        return self.diag().device

    @abstractmethod
    def _matmul(self, V: Tensor) -> Tensor:
        """F V for float64 V [P, J]."""

    @abstractmethod
    def _solve(self, V: Tensor, damping: float) -> Tensor:
        """(F + damping I)^-1 V for float64 V [P, J]."""

    @abstractmethod
    def _logdet(self, damping: float) -> float: ...

    @abstractmethod
    def _eigh(self) -> Eigen: ...

    @abstractmethod
    def _dense(self) -> Tensor: ...
