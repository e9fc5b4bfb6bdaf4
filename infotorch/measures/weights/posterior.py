"""Gaussian posteriors over the selected parameters, in the form that their estimator has."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.blocks.kfac import Kfac
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.errors import NotSupported, ShapeError, check_seed, check_whole, mebibytes
from infotorch.linalg.eigen import Eigen

__all__ = ["BlockPosterior", "DiagonalPosterior", "KfacPosterior", "Posterior", "deviation"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Posterior(ABC):
    r"""N(mean, Sigma) with :math:`\Sigma = D (I + s H)^{-1} D`, H the curvature relative to the prior of variance D^2.

    Over the selected parameters laid end to end in ``named_parameters`` order; everything is float64.
    """

    mean: Tensor
    """The weights, [P]."""
    shapes: dict[str, torch.Size]
    """Every parameter."""
    deviation: Tensor
    """The prior's standard deviation D of each weight, [P]."""

    @property
    def P(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.P:,} weights of {len(self.shapes)} parameters)"

    def times(self, V: Tensor) -> Tensor:
        """Sigma V for V [P, J], or [P]; float64 of V's shape.

        Raises:
            ShapeError: V has another size.
        """
        if not isinstance(V, Tensor):
            raise ShapeError(f"posterior.times: V must be a tensor; got {type(V).__name__}. Pass one [P, J] or [P].")
        if V.dim() not in (1, 2) or len(V) != self.P:
            raise ShapeError(
                f"posterior.times: V must be [P, J] or [P] with P = {self.P}; got {list(V.shape)}. "
                "Lay the parameters end to end in named_parameters order."
            )
        D = self.deviation[:, None]
        return (D * self._shrunk(D * V.to(D).reshape(self.P, -1))).view(V.shape)

    def covariance(self) -> Tensor:
        """Sigma [P, P], symmetric.

        Raises:
            NotSupported: It would take more than 2 GiB.
        """
        need = 8 * self.P**2
        if need > MEMORY_LIMIT:
            raise NotSupported(
                f"posterior.covariance: a matrix [P, P] must fit in {mebibytes(MEMORY_LIMIT)}; got P = {self.P}, "
                f"{mebibytes(need)}. Multiply with times(V), or draw with sample(K, seed=0)."
            )
        Sigma = self.times(torch.eye(self.P, dtype=torch.float64, device=self.mean.device))
        return (Sigma + Sigma.mT) / 2

    def sample(self, K: int, *, seed: int) -> Tensor:
        """K draws of the weights, [K, P]; the same for the same seed.

        Raises:
            ConfigError: K is no whole number, or below 1.
        """
        check_whole("posterior.sample", "K", K, 1, "Pass how many draws.")
        generator = torch.Generator().manual_seed(check_seed("posterior.sample", seed))
        return self.mean + self.deviation * self._drawn(K, generator).mT

    def _normal(self, rows: int, K: int, generator: torch.Generator) -> Tensor:
        return torch.randn(K, rows, dtype=torch.float64, generator=generator).mT.to(self.mean.device)

    @abstractmethod
    def _shrunk(self, V: Tensor) -> Tensor:
        """(I + s H)^-1 V for V [P, J]."""

    @abstractmethod
    def _drawn(self, K: int, generator: torch.Generator) -> Tensor:
        """[P, K], columns of N(0, (I + s H)^-1)."""


@dataclass(frozen=True, kw_only=True, repr=False)
class DiagonalPosterior(Posterior):
    """Independent weights."""

    precision: Tensor
    """1 + s h of each weight, [P]."""

    def _shrunk(self, V: Tensor) -> Tensor:
        return V / self.precision[:, None]

    def _drawn(self, K: int, generator: torch.Generator) -> Tensor:
        return self._normal(self.P, K, generator) / self.precision.sqrt()[:, None]


@dataclass(frozen=True, kw_only=True, repr=False)
class BlockPosterior(Posterior):
    """Independent blocks of weights, each with its full covariance; one block for all is the dense form."""

    blocks: Sequence[Eigen]
    """Of I + s H, one behind the other along the parameters."""

    def _shrunk(self, V: Tensor) -> Tensor:
        return self._of(V, lambda precision: 1 / precision)

    def _drawn(self, K: int, generator: torch.Generator) -> Tensor:
        return self._of(self._normal(self.P, K, generator), torch.rsqrt)

    def _of(self, V: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
        rows = V.split([len(block.values) for block in self.blocks])
        return torch.cat(
            [
                block.vectors.mT @ (fn(block.values)[:, None] * (block.vectors @ part))
                for block, part in zip(self.blocks, rows, strict=True)
            ]
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class KfacPosterior(Posterior):
    """Independent layers with Kronecker-factored covariances, and the diagonal of what has no factors."""

    curvature: Kfac
    """H."""
    s: float

    def _shrunk(self, V: Tensor) -> Tensor:
        return self.curvature.function(V, lambda values: 1 / (1 + self.s * values))

    def _drawn(self, K: int, generator: torch.Generator) -> Tensor:
        return self.curvature.function(self._normal(self.P, K, generator), lambda values: (1 + self.s * values).rsqrt())


def deviation(relative: Tensor, scale: float) -> Tensor:
    """The prior's standard deviations, [P]."""
    return relative.sqrt() * math.sqrt(scale)
