"""A Kronecker product a layer in place of its curvature."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.blocks.layout import flattened, split
from infotorch.errors import ShapeError
from infotorch.linalg.definite import checked_eigenvalues, checked_eigh, log_sum
from infotorch.linalg.eigen import Eigen
from infotorch.linalg.symmetric import LowerTriangle

__all__ = ["Kfac", "Kronecker"]


@dataclass(frozen=True, kw_only=True)
class Kronecker:
    r""":math:`A / (N T) \otimes B` for one layer, or one for each of its groups.

    A row of the layer's matrix is an out-feature o, a column an in-feature i, the bias last: the entry for (o, i) and
    (p, j) is :math:`B_{op} A_{ij} / (N T)`. Factors are in the forward's dtype for one batch, in float64 for a sum over
    several; what is computed from them is in float64.
    """

    weight: str
    bias: str | None
    A_held: Tensor | LowerTriangle
    """``A`` as it lies in memory."""
    B_held: Tensor | LowerTriangle
    """``B``, likewise."""
    positions: int
    """N T: how many samples and positions A was summed over."""
    transposed: bool
    """The weight is [I, O]."""

    summed_in: torch.dtype
    """The dtype of the sums over one batch."""

    @property
    def A(self) -> Tensor:
        """Sum of a a^T over samples and positions, [groups, I (+ 1), I (+ 1)]; of a triangle written out anew."""
        return _written(self.A_held)

    @property
    def B(self) -> Tensor:
        """Sum of b b^T over samples, positions and seeds, [groups, O, O]; likewise."""
        return _written(self.B_held)

    def _eighs(self, factors: Tensor, divisor: int) -> list[Eigen]:
        return [
            checked_eigh("block.eigh", factor.double() / divisor, self.summed_in, overwrite=True) for factor in factors
        ]

    @cached_property
    def spectra(self) -> list[tuple[Eigen, Eigen]]:
        """Eigendecompositions of A / (N T) and B, a group each."""
        inputs = self._eighs(self.A, self.positions)  # before B is written out
        return list(zip(inputs, self._eighs(self.B, 1), strict=True))

    @cached_property
    def eigenvalues(self) -> Tensor:
        """[groups, O, I (+ 1)], as B's and A's give them, not sorted."""
        return torch.stack([b.values[:, None] * a.values for a, b in self.spectra])

    def join(self, V: dict[str, Tensor]) -> Tensor:
        """Parameters [J, *shape] as matrices [J, groups, O, I (+ 1)]."""
        groups, O = self.B_held.shape[:2]
        W = V[self.weight].flatten(1)
        if self.transposed:
            W = W.view(len(W), -1, groups * O).mT.reshape(len(W), -1)
        W = W.view(len(W), groups, O, -1)
        return W if self.bias is None else torch.cat([W, V[self.bias].view(len(W), groups, O, 1)], 3)

    def part(self, M: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
        """The inverse of :meth:`join`."""
        I = self.A_held.shape[1] - (self.bias is not None)
        W = M[..., :I].reshape(len(M), -1, I)
        parts = {self.weight: (W.mT if self.transposed else W).reshape(len(M), *shapes[self.weight])}
        if self.bias is not None:
            parts[self.bias] = M[..., I].reshape(len(M), *shapes[self.bias])
        return parts

    def vectors(self) -> Tensor:
        """Eigenvectors as matrices, [groups * O * I, groups, O, I], in the order of ``eigenvalues``."""
        groups, O, I = self.eigenvalues.shape
        M = self.eigenvalues.new_zeros(groups, O, I, groups, O, I)
        for g, (a, b) in enumerate(self.spectra):
            M[g, :, :, g] = torch.einsum("po,qi->pqoi", b.vectors, a.vectors)
        return M.flatten(0, 2)

    def times(self, M: Tensor) -> Tensor:
        """B M A / (N T) of matrices [J, groups, O, I]."""
        return self.B.double() @ M @ (self.A.double() / self.positions)

    def scaled(self, M: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
        """M [J, groups, O, I] with every eigen-coefficient times ``fn`` of its eigenvalue."""
        left = torch.stack([b.vectors for _, b in self.spectra])  # an eigenvector is a row
        right = torch.stack([a.vectors for a, _ in self.spectra])
        return left.mT @ (left @ M @ right.mT * fn(self.eigenvalues)) @ right


def _diagonal(held: Tensor | LowerTriangle) -> Tensor:
    return held.diagonal() if isinstance(held, LowerTriangle) else held.diagonal(dim1=1, dim2=2).double()


def _written(held: Tensor | LowerTriangle) -> Tensor:
    return held.full() if isinstance(held, LowerTriangle) else held


@dataclass(frozen=True, kw_only=True)
class Kfac(Block):
    r"""Kronecker-factored approximate curvature: :math:`A / (N T) \otimes B` a layer, zero between layers.

    Parameters that are no matrix of a dense layer (of normalizations and embeddings, a bias without its weight) have no
    factors: they keep their exact diagonal, and are the keys of ``diagonal``.
    """

    factors: tuple[Kronecker, ...]
    """One for each layer that has factors."""
    diagonal: dict[str, Tensor]
    """{name: [*shape]} of the parameters without factors."""

    def __post_init__(self) -> None:
        named = [name for layer in self.factors for name in (layer.weight, layer.bias) if name] + list(self.diagonal)
        if sorted(named) != sorted(self.shapes):
            raise ShapeError(
                f"block: every parameter must have a part; got {named}. Give factors or a diagonal of each."
            )

    @property
    def _diagonal64(self) -> dict[str, Tensor]:
        return {name: own.double() for name, own in self.diagonal.items()}

    def diag(self) -> Tensor:
        parts = self._diagonal64
        for layer in self.factors:
            A, B = (_diagonal(held) for held in (layer.A_held, layer.B_held))
            diagonal = B[:, :, None] * A[:, None] / layer.positions  # [groups, O, I]
            parts |= {name: part[0] for name, part in layer.part(diagonal[None], self.shapes).items()}
        return flattened(parts, self.shapes)

    def eigenvalues(self) -> Tensor:
        return self._unsorted().sort().values

    def _unsorted(self) -> Tensor:
        """Of every layer, then of every diagonal."""
        own = [checked_eigenvalues("block.eigenvalues", part.flatten()) for part in self._diagonal64.values()]
        return torch.cat([layer.eigenvalues.flatten() for layer in self.factors] + own)

    def _matmul(self, V: Tensor) -> Tensor:
        return self._layerwise(V, lambda layer, M: layer.times(M), lambda own, part: own * part)

    def _solve(self, V: Tensor, damping: float) -> Tensor:
        log_sum("block.solve", self._unsorted(), damping, "damping")  # refuses what has no inverse
        return self.function(V, lambda values: 1 / (values + damping))

    def function(self, V: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
        """The matrix whose eigenvalues are ``fn`` of this one's, with its eigenvectors, times float64 V [P, J]."""
        return self._layerwise(V, lambda layer, M: layer.scaled(M, fn), lambda own, part: fn(own) * part)

    def _logdet(self, damping: float) -> float:
        return log_sum("block.logdet", self._unsorted(), damping, "damping")

    def _eigh(self) -> Eigen:
        rows = [self._placed(layer.part(layer.vectors(), self.shapes)) for layer in self.factors]
        for name, own in self._diagonal64.items():
            unit = torch.eye(own.numel(), dtype=own.dtype, device=own.device).view(-1, *own.shape)
            rows.append(self._placed({name: unit}))
        values = self._unsorted()
        order = values.sort().indices
        return Eigen(values=values[order], vectors=torch.cat(rows)[order])

    def _placed(self, parts: dict[str, Tensor]) -> Tensor:
        """Vectors [J, P] that are zero on all parameters but those given as [J, *shape]."""
        some = next(iter(parts.values()))
        zero = {name: some.new_zeros(len(some), *shape) for name, shape in self.shapes.items()}
        return flattened(zero | parts, self.shapes)

    def _dense(self) -> Tensor:
        F = self._matmul(torch.eye(self.P, dtype=torch.float64, device=self._device()))
        return (F + F.mT) / 2  # the two orders of multiplying round differently

    def _layerwise(
        self,
        V: Tensor,
        factored: Callable[[Kronecker, Tensor], Tensor],
        diagonal: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """F-like maps [P, J] -> [P, J] that act on each layer's matrices and on each diagonal alone."""
        rows = split(V.mT, self.shapes)
        found: dict[str, Tensor] = {}
        for layer in self.factors:
            found |= layer.part(factored(layer, layer.join(rows)), self.shapes)
        for name, own in self._diagonal64.items():
            found[name] = diagonal(own, rows[name])
        return flattened(found, self.shapes).mT
