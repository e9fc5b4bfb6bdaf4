"""The curvature H of the retained loss, as a Newton step and a noise covariance need it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from infotorch.blocks import fisher
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.capture.run import Fallback
from infotorch.edit.passes import curvature_product
from infotorch.errors import ConfigError, NumericsError, check_choice, mebibytes
from infotorch.linalg.cg import conjugate_gradients
from infotorch.linalg.definite import checked_eigh
from infotorch.task import Task

__all__ = ["Curvature", "Diagonal", "Full", "Structure", "curvature", "whole_curvature"]

Structure = Literal["full", "diagonal"]


class Curvature(Protocol):
    """H = F + shift I, positive definite."""

    def solve(self, v: Tensor) -> Tensor:
        """H^-1 v of the whole of H, for v [P]."""

    def times(self, V: Tensor, power: float) -> Tensor:
        """H^power V of what of H is kept, for V [P] or [P, J]."""

    def matrix(self, power: float) -> Tensor:
        """H^power of what of H is kept: [P, P], or the diagonal [P]."""


@dataclass(frozen=True, kw_only=True)
class Full:
    """All of H, by its eigenvalues."""

    values: Tensor
    """[P], above 0."""
    vectors: Tensor
    """[P, P], one a row."""

    def solve(self, v: Tensor) -> Tensor:
        return self.times(v, -1.0)

    def times(self, V: Tensor, power: float) -> Tensor:
        return self.map(V, self.values.pow(power))

    def map(self, V: Tensor, values: Tensor) -> Tensor:
        """The matrix with H's eigenvectors and these eigenvalues, times V [P] or [P, J]."""
        turned = self.vectors @ V
        return self.vectors.mT @ (values * turned if V.dim() == 1 else values[:, None] * turned)

    def matrix(self, power: float) -> Tensor:
        result = (self.vectors.mT * self.values.pow(power)) @ self.vectors
        return (result + result.mT) / 2


@dataclass(frozen=True, kw_only=True)
class Diagonal:
    """H's diagonal for the noise; solves are of the whole of H all the same, by conjugate gradients."""

    values: Tensor
    """[P], above 0."""
    product: Callable[[Tensor], Tensor]
    """H v for v [P]."""
    tol: float

    def solve(self, v: Tensor) -> Tensor:
        return conjugate_gradients("scrub", self.product, v, diagonal=self.values, tol=self.tol)

    def times(self, V: Tensor, power: float) -> Tensor:
        values = self.values.pow(power)
        return values * V if V.dim() == 1 else values[:, None] * V

    def matrix(self, power: float) -> Tensor:
        return self.values.pow(power)


def curvature(
    task: Task, data: Any, structure: Structure, *, shift: float, damping: float, fallback: Fallback | None = None
) -> Curvature:
    """H = F + shift I with the exact Fisher matrix F, summed over the samples of ``data``.

    Args:
        task: Model, loss and parameters.
        data: (x, y), a dict, or a loader.
        structure: What of H the noise follows.
        shift: The ridge and the damping.
        damping: What of it the refusal names.
        fallback: As for :func:`infotorch.fisher`.

    Raises:
        ConfigError: The full matrix would take more than 2 GiB, or ``structure`` is unknown.
        NumericsError: H is singular to rounding.
    """
    check_choice("scrub", "structure", structure, get_args(Structure))
    dtype = next(iter(task.parameters().values())).dtype
    if structure == "diagonal":
        values = fisher(task, data, structure="diagonal", fallback=fallback).diag() + shift
        _check_regular(values, float(values.abs().max()), 0.0, damping)
        return Diagonal(
            values=values,
            product=lambda v: curvature_product(task, data, v) + shift * v,
            tol=1e-10 if dtype == torch.float64 else 1e-5,
        )
    P = sum(shape.numel() for shape in task.shapes.values())
    if 8 * P**2 > MEMORY_LIMIT:
        raise ConfigError(
            f"scrub: a full matrix [P, P] must fit in {mebibytes(MEMORY_LIMIT)}; got P = {P:,}, {mebibytes(8 * P**2)}. "
            'Pass structure="diagonal", or edit fewer parameters with Task(params=[...]).'
        )
    found = fisher(task, data, fallback=fallback).eigh()
    # The gradients' own rounding is squared in F, and stands where F is singular.
    rounding = P * max(torch.finfo(torch.float64).eps, torch.finfo(dtype).eps ** 2)
    values = found.values + shift
    _check_regular(values, float(values[-1]), rounding, damping)
    return Full(values=values, vectors=found.vectors)


def whole_curvature(task: Task, H: Full, more: Any, fallback: Fallback | None) -> Full:
    """The curvature of more data beside those of H."""
    found = checked_eigh("scrub", H.matrix(1.0) + fisher(task, more, fallback=fallback).dense())
    return Full(values=found.values, vectors=found.vectors)


def _check_regular(values: Tensor, largest: float, rounding: float, damping: float) -> None:
    smallest = float(values.min())
    if not smallest > rounding * largest:
        raise NumericsError(
            f"scrub: the curvature of the retained loss must be positive definite with damping={damping:g}; got a "
            f"smallest eigenvalue of {smallest:.3g} beside {largest:.3g}. Raise damping."
        )
