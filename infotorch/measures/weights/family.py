"""What every posterior family offers, whatever it keeps of the curvature."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.layout import layer_of
from infotorch.errors import NotSupported, NumericsError
from infotorch.measures.weights.posterior import Posterior
from infotorch.measures.weights.spectrum import Spectrum

__all__ = ["Family", "layer_sums"]


class Family(ABC):
    """The Gaussians over which C_beta is least: those that share the structure of a curvature H.

    H is relative to the prior, and ``s`` is the prior's scale over beta, so that the optimum is (I + s H)^-1 in the
    prior's units. A spectrum whose nodes stand for all eigenvalues is all that the numbers need.
    """

    spectrum: Spectrum
    drawable: bool = True
    """There is a posterior to draw weights from."""

    def check(self, scale: float, beta: float) -> None:
        """Refuse where the optimum does not exist.

        Raises:
            NumericsError: An eigenvalue of the curvature is below -beta / scale.
        """
        if self.spectrum.theta.numel() and not 1 + scale / beta * self.spectrum.smallest > 0:
            raise NumericsError(
                f"weights_information: Hessian + beta/prior_var must be positive definite; got smallest eigenvalue "
                f'{self.spectrum.smallest + beta / scale:.2g}. Use curvature="fisher" or a smaller prior_var.'
            )

    def logdet(self, s: float) -> float:
        """log|I + s H|."""
        return self.spectrum.logdet(s)

    def d_eff(self, s: float) -> float:
        """tr[s H (I + s H)^-1]."""
        return self.spectrum.d_eff(s)

    def information(self, s: float) -> float:
        """(log|I + s H| - d_eff) / 2, in nats."""
        return self.spectrum.information(s)

    def stderr(self, s: float) -> float | None:
        """Of ``information``, over probes; None where there are none."""
        return self.spectrum.stderr(s)

    def layer_parts(self, s: float) -> dict[str, float] | None:
        """``information`` of each layer; None where a direction runs through several."""
        return self.spectrum.per_layer(s)

    def layer_traces(self, s: float) -> dict[str, float] | None:
        """Each layer's part of tr[sH (I + sH)^-1], where directions run through several layers."""
        return None

    def quadrature_error(self, s: float) -> float | None:
        """Of the information, where it is by quadrature: what the second half of the steps changed."""
        return None

    def per_sample(self, s: float) -> tuple[Tensor, Tensor] | None:
        """Leverages [N] and leave-one-out outputs [N, C], where the family knows samples."""
        return None

    def posterior(self, s: float, **around: Any) -> Posterior:
        """The optimum, ``around`` its mean, shapes and deviation."""
        raise NotSupported(
            'weights_information: the estimator must have a posterior to draw weights or noise from; got "slq", which '
            'has eigenvalues alone. Choose estimator="gram", "kfac" or "diag"; or keep it with draws=0, without '
            "activations."
        )

    @classmethod
    @abstractmethod
    def of(cls, problem: Any) -> "Family":
        """From the problem's task and data."""


def layer_sums(values: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, float]:
    """Sums of [P] by module path."""
    found: dict[str, float] = {}
    parts = values.split([shape.numel() for shape in shapes.values()])
    for name, part in zip(shapes, parts, strict=True):
        found[layer_of(name)] = found.get(layer_of(name), 0.0) + float(part.sum())
    return found
