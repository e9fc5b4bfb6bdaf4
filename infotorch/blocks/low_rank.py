"""A curvature matrix as the rows that it is made of, F = G^T G."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.errors import NumericsError, ShapeError
from infotorch.linalg.definite import Cholesky, checked_eigh
from infotorch.linalg.eigen import Eigen
from infotorch.linalg.symmetric import mirror

__all__ = ["LowRank"]

PANEL = 2**22
"""Elements of the rows that are widened to float64 at once (32 MiB)."""


@dataclass(frozen=True, kw_only=True)
class LowRank(Block):
    r"""All of the matrix, of rank at most R, by its rows: :math:`F = G^\top G` is exact.

    Solves, determinants and eigenvalues come from :math:`G G^\top` [R, R]. A solve divides by the damping what lies
    outside of the rows: it needs one above 0, and loses as many digits as the largest eigenvalue exceeds it by.
    """

    rows: dict[str, Tensor]
    """G, one matrix [R, size] a parameter, of the forward's dtype."""

    def __post_init__(self) -> None:
        sizes = {name: shape.numel() for name, shape in self.shapes.items()}
        got = {name: list(G.shape) for name, G in self.rows.items()}
        if got != {name: [self.R, size] for name, size in sizes.items()}:
            raise ShapeError(f"block: rows must be [R, size] for each of {sizes}; got {got}. Give every parameter one.")

    @property
    def R(self) -> int:
        """How many rows."""
        return len(next(iter(self.rows.values())))

    def diag(self) -> Tensor:
        return torch.cat([G.square().sum(0) for _, G in self._panels()])

    def trace(self) -> float:
        return float(sum(G.square().sum() for _, G in self._panels()))

    def eigenvalues(self) -> Tensor:
        found = self._spectrum.values[-min(self.R, self.P) :]
        return torch.cat([found.new_zeros(self.P - len(found)), found])

    def eigh(self) -> Eigen:
        """The eigenvalues above rounding, at most R, increasing, and their eigenvectors as rows; all others are 0."""
        return self._eigh()

    @cached_property
    def kernel(self) -> Tensor:
        """G G^T, float64 [R, R], symmetric to the bit."""
        total = None
        for _, G in self._panels():
            product = G @ G.mT
            total = product if total is None else total.add_(product)
        assert total is not None
        mirror(total)
        return total

    @cached_property
    def _spectrum(self) -> Eigen:
        return checked_eigh("block.eigh", self.kernel)

    def _panels(self) -> Iterator[tuple[slice, Tensor]]:
        """Columns of G in float64, a bounded number at a time, with their places among all P."""
        start, width = 0, max(1, PANEL // max(1, self.R))
        for G in self.rows.values():
            for panel in G.split(width, 1):
                yield slice(start, start + panel.shape[1]), panel.double()
                start += panel.shape[1]

    def _times(self, V: Tensor) -> Tensor:
        """G V [R, J]."""
        total = V.new_zeros(self.R, V.shape[1])
        for columns, G in self._panels():
            total.addmm_(G, V[columns])
        return total

    def _back(self, U: Tensor) -> Tensor:
        """G^T U [P, J]."""
        result = U.new_empty(self.P, U.shape[1])
        for columns, G in self._panels():
            torch.mm(G.mT, U, out=result[columns])
        return result

    def _matmul(self, V: Tensor) -> Tensor:
        return self._back(self._times(V))

    def _solve(self, V: Tensor, damping: float) -> Tensor:
        self._check("solve", damping)
        inner = Cholesky("block.solve", self.kernel, damping, "damping").solve(self._times(V))
        return (V - self._back(inner)) / damping

    def _logdet(self, damping: float) -> float:
        self._check("logdet", damping)
        inner = Cholesky("block.logdet", self.kernel, damping, "damping").logdet()
        return inner + (self.P - self.R) * torch.tensor(damping, dtype=torch.float64).log().item()

    def _check(self, what: str, damping: float) -> None:
        if damping == 0:
            raise NumericsError(
                f"block.{what}: the matrix must be positive definite with damping=0; got {self.R} rows for P = "
                f"{self.P} in low-rank form. Raise damping."
            )

    def _dense(self) -> Tensor:
        G = torch.cat([panel for _, panel in self._panels()], 1)
        F = G.mT @ G
        mirror(F)
        return F

    def _eigh(self) -> Eigen:
        spectrum = self._spectrum
        rows = spectrum.vectors[self._above_rounding(spectrum.values)]
        span = torch.cat([rows @ G for _, G in self._panels()], 1)  # [r, P]
        # Squaring G has cost the small ones half of their digits: from here on G itself is what is decomposed.
        basis = torch.linalg.qr(span.mT).Q  # [P, r]
        _, S, vectors = torch.linalg.svd(self._times(basis), full_matrices=False)
        values = S.square().flip(0)
        kept = self._above_rounding(values)
        return Eigen(values=values[kept], vectors=(vectors @ basis.mT).flip(0)[kept])

    def _above_rounding(self, values: Tensor) -> Tensor:
        return values > torch.finfo(torch.float64).eps * max(self.R, self.P) * values[-1:].sum()
