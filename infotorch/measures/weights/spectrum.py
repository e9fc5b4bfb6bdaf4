"""All numbers of a Gaussian posterior, as sums over the eigenvalues of the curvature."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Curve", "Spectrum", "divergence", "owners"]

SERIES_BELOW = 1e-3
"""Where log1p(t) - t/(1+t) has lost half of its digits."""


def divergence(t: Tensor) -> Tensor:
    """(log1p(t) - t / (1 + t)) / 2: what a direction of curvature t relative to the prior's adds to the KL, t > -1.

    Below ``SERIES_BELOW`` from the series sum_k (-t)^k (k - 1) / k, so that no term is negative by rounding.
    """
    series = t.square() * (1 / 2 - t * (2 / 3 - t * (3 / 4 - t * (4 / 5 - t * 5 / 6))))
    small = t.abs() < SERIES_BELOW
    safe = t.masked_fill(small, 0.0)
    return 0.5 * torch.where(small, series, safe.log1p() - safe / (1 + safe))


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    r"""Nodes of a curvature matrix that is seen relative to the prior, :math:`\Lambda^{1/2} F \Lambda^{1/2}`.

    A sum over eigenvalues :math:`\sum_i f(\theta_i)` is :math:`\sum_r w_r f(\theta_r)`, or its mean over probes where
    each probe has a quadrature of its own. One decomposition serves every beta and every scale of the prior.
    """

    theta: Tensor
    """Eigenvalues or nodes, float64 [R], or [probes, R]."""
    weight: Tensor
    """How often each counts, float64 of theta's shape."""
    layers: tuple[str, ...] = ()
    """Module paths, where every node belongs to one layer."""
    owner: Tensor | None = None
    """int64 [R], places in ``layers``."""

    def total(self, fn: Callable[[Tensor], Tensor]) -> float:
        """The sum of ``fn`` over all eigenvalues."""
        return float(self._sums(fn).mean())

    def _sums(self, fn: Callable[[Tensor], Tensor]) -> Tensor:
        """A sum a probe, [1] or [probes]."""
        return (self.weight * fn(self.theta)).sum(-1).reshape(-1)

    def logdet(self, s: float) -> float:
        """log|I + s H|."""
        return self.total(lambda theta: (s * theta).log1p())

    def d_eff(self, s: float) -> float:
        """tr[s H (I + s H)^-1]."""
        return self.total(lambda theta: _shrinkage(s * theta))

    def capacity(self, s: float) -> float:
        """Half the squared Frobenius norm of s H (I + s H)^-1."""
        return 0.5 * self.total(lambda theta: _shrinkage(s * theta).square())

    def information(self, s: float) -> float:
        """(log|I + s H| - d_eff) / 2, in nats."""
        return self.total(lambda theta: divergence(s * theta))

    def stderr(self, s: float) -> float | None:
        """Of ``information``, over probes; None where there are none."""
        if self.theta.dim() == 1:
            return None
        sums = self._sums(lambda theta: divergence(s * theta))
        return float(sums.std() / len(sums) ** 0.5)

    def per_layer(self, s: float) -> dict[str, float] | None:
        """``information`` of each layer; None where an eigenvalue belongs to several."""
        if self.owner is None:
            return None
        found = self.theta.new_zeros(len(self.layers))
        found.index_add_(0, self.owner, self.weight * divergence(s * self.theta))
        return dict(zip(self.layers, found.tolist(), strict=True))

    @property
    def smallest(self) -> float:
        return float(self.theta.min())


def _shrinkage(t: Tensor) -> Tensor:
    return t / (1 + t)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The same posterior family at several beta, float64 [B] each."""

    betas: Tensor
    nats: Tensor
    logdet: Tensor
    d_eff: Tensor

    @classmethod
    def of(cls, spectrum: Spectrum, betas: Sequence[float], scale: float, distance: float) -> "Curve":
        """At prior variance ``scale`` and squared distance from the prior's mean, measured in the prior's units."""
        rows = [
            (
                beta,
                0.5 * distance + spectrum.information(scale / beta),
                spectrum.logdet(scale / beta),
                spectrum.d_eff(scale / beta),
            )
            for beta in betas
        ]
        columns = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).unbind(1)
        return cls(**dict(zip(("betas", "nats", "logdet", "d_eff"), columns, strict=True)))


def owners(sizes: Sequence[tuple[str, int]], device: torch.device) -> tuple[tuple[str, ...], Tensor]:
    """The layers in these runs of directions, (module path, how many), and the number of each direction's layer."""
    layers = tuple(dict.fromkeys(path for path, _ in sizes))
    return layers, torch.cat([torch.full((n,), layers.index(path), device=device) for path, n in sizes])
