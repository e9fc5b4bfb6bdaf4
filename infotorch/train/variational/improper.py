"""The divergence from the log-uniform prior, which is no distribution."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["ImproperKL", "log_uniform_kl"]

# Molchanov, Ashukha, Vetrov, "Variational Dropout Sparsifies Deep Neural Networks" (arXiv 1701.05369), eq. 14.
K1, K2, K3 = 0.63576, 1.87320, 1.48695


@dataclass(frozen=True, kw_only=True, eq=False)
class ImproperKL:
    """A divergence from a prior that doesn't integrate: differences alone mean something."""

    per_weight: Tensor = field(repr=False)
    """Of each weight, up to a constant, with a gradient."""
    improper: bool = True
    kind: str = "heuristic"
    """Never a bound, and no number of nats: the constant that makes it 0 at infinite noise is a choice."""

    @property
    def total(self) -> Tensor:
        """The sum over weights, float64 []."""
        return self.per_weight.double().sum()


def log_uniform_kl(log_alpha: Any) -> ImproperKL:
    r"""KL of :math:`N(w, \alpha w^2)` from the log-uniform prior, up to a constant, by a fit of its integral.

    :math:`-\mathrm{KL} \approx 0.63576\,\mathrm{sigm}(1.8732 + 1.48695 \log\alpha) - \frac12\log(1 + 1/\alpha) -
    0.63576`. The prior is improper, so that the value is flagged: not a bound, not information in nats.

    Args:
        log_alpha: Log of the noise's variance over the squared weight, of any shape.
    """
    log_alpha = torch.as_tensor(log_alpha)
    fit = K1 * torch.sigmoid(K2 + K3 * log_alpha) - 0.5 * torch.nn.functional.softplus(-log_alpha) - K1
    return ImproperKL(per_weight=-fit)
