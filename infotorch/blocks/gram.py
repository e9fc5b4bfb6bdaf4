"""Inner products of Jacobians, as a block matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.layout import check_floating
from infotorch.blocks.operator import linear_operator
from infotorch.errors import NotSupported, ShapeError
from infotorch.linalg.definite import Cholesky, check_shift, checked_eigh
from infotorch.linalg.eigen import Eigen

__all__ = ["Gram"]


@dataclass(frozen=True, kw_only=True)
class Gram:
    """The kernel between the samples of a first set (rows) and a second (columns), in float64.

    A matrix [N*C, M*C], or [N, M] where the outputs were reduced. What it multiplies may also be [M, C], one number a
    sample and output; then what comes back is [N, C]. Solves, determinants and eigenvalues are those of one set, whose
    matrix is symmetric and positive semi-definite.
    """

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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of ``matrix``."""
        rows, cols = self.matrix.shape
        return rows, cols

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product with v [M*C], [M*C, J] or [M, C], in v's form and dtype."""
        return self._applied("@", v, lambda V: self.matrix @ V)

    def solve(self, v: Tensor, *, ridge: float = 0.0) -> Tensor:
        """(K + ridge I)^-1 v for v [N*C], [N*C, J] or [N, C], in v's form and dtype.

        Raises:
            NotSupported: Rows and columns are two sets.
            NumericsError: K + ridge I is not positive definite.
        """
        return self._applied("solve", v, self._factor("solve", ridge).solve)

    def logdet(self, *, ridge: float = 0.0) -> float:
        """The log-determinant of K + ridge I.

        Raises:
            NotSupported: Rows and columns are two sets.
            NumericsError: K + ridge I is not positive definite.
        """
        return self._factor("logdet", ridge).logdet()

    def trace(self) -> float:
        """The sum of the diagonal, of one set."""
        return float(self.diag().sum())

    def diag(self) -> Tensor:
        """The diagonal [N*C] or [N], of one set."""
        self._check_symmetric("diag")
        return self.matrix.diagonal().clone()

    def eigh(self) -> Eigen:
        """Eigenvalues, increasing, and eigenvectors as rows, of one set.

        Raises:
            NotSupported: Rows and columns are two sets.
            NumericsError: An eigenvalue is negative beyond rounding.
        """
        self._check_symmetric("eigh")
        return checked_eigh("gram.eigh", self.matrix)

    def dense(self) -> Tensor:
        """The matrix itself, a copy."""
        return self.matrix.clone()

    def to_linear_operator(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator`` on float64 NumPy vectors."""
        matrix = self.matrix
        return linear_operator(
            "gram.to_linear_operator", self.shape, lambda V: matrix @ V, matrix.device, lambda V: matrix.mT @ V
        )

    def _factor(self, what: str, ridge: float) -> Cholesky:
        self._check_symmetric(what)
        return Cholesky(f"gram.{what}", self.matrix, check_shift(f"gram.{what}", "ridge", ridge), "ridge")

    def _check_symmetric(self, what: str) -> None:
        if not self.symmetric:
            raise NotSupported(
                f"gram.{what}: rows and columns must be the same samples; got {self.N} against {self.M} others. "
                "Call ntk(task, x) with one set."
            )

    def _applied(self, op: str, v: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        _, cols = self.shape
        by_sample = self.values.dim() == 4 and v.shape == (self.M, self.C)
        if not by_sample and (v.dim() not in (1, 2) or len(v) != cols):
            raise ShapeError(
                f"gram.{op}: v must be [{cols}], [{cols}, J] or [{self.M}, {self.C}]; got {list(v.shape)}. "
                "Lay samples first and outputs within them."
            )
        check_floating(f"gram.{op}", "v", v)
        columns = v.reshape(cols, -1) if by_sample or v.dim() == 1 else v
        result = run(columns.to(torch.float64)).to(v.dtype)
        return result.view(self.N, self.C) if by_sample else result[:, 0] if v.dim() == 1 else result
