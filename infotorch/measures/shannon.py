"""Information in the weights about the data set, where both are drawn from finite sets."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.errors import ConfigError, ShapeError
from infotorch.measures.kernel_input import Array
from infotorch.table import Kind

__all__ = ["ShannonInformation", "shannon_information"]

WHERE = "shannon_information"
SUMS_TO_ONE = 1e-6
"""How far a sum of probabilities may be from 1."""


@dataclass(frozen=True, kw_only=True)
class ShannonInformation:
    """Nats, over data sets as they are drawn."""

    information: float
    """I(w; D), the mean divergence of the posteriors from their own mean."""
    mean_kl: float
    """The mean divergence from the prior: I(w; D) plus that of the posteriors' mean from the prior."""

    @property
    def kind(self) -> Kind:
        """``estimate``: exact for these tables; ``mean_kl`` bounds ``information`` from above."""
        return "estimate"


@torch.no_grad()
def shannon_information(posteriors: Array, probabilities: Array, *, prior: Array | None = None) -> ShannonInformation:
    r"""Mutual information of weights and data set, :math:`I(w; D) = \sum_D p(D)\, KL(Q(w|D) \| \bar Q)`.

    :math:`\bar Q = \sum_D p(D) Q(w|D)`. By :math:`E_D KL(Q \| P) = I(w; D) + KL(\bar Q \| P)` every prior gives an
    upper bound, and the best one is the mean of the posteriors itself (Achille, Paolini and Soatto, arXiv 1905.12213,
    section 2). A posterior of a random training algorithm has its seeds averaged in: Q(w|D, seed) of single runs gives
    I(w; D, seed) instead.

    Args:
        posteriors: Q(w|D), [D, W], a row a data set.
        probabilities: p(D), [D].
        prior: P(w), [W]; default the mean of the posteriors.

    Returns:
        ``.information`` and ``.mean_kl``, infinite where the prior excludes a weight that a posterior allows.

    Raises:
        ConfigError: Probabilities are negative, or do not sum to 1.
        ShapeError: Sizes disagree.

    Example:
        >>> found = shannon_information(torch.eye(2), torch.tensor([0.5, 0.5]))  # the weights tell the data set
        >>> round(found.information, 6)
        0.693147
    """
    Q, p = (_table(what, given) for what, given in (("posteriors", posteriors), ("probabilities", probabilities)))
    if Q.dim() != 2 or p.shape != Q.shape[:1]:
        raise ShapeError(
            f"{WHERE}: posteriors must be [D, W] with probabilities [D]; got {list(Q.shape)} and {list(p.shape)}. "
            "Give one row of weights' probabilities a data set."
        )
    _check("each posterior", Q)
    _check("probabilities", p)
    center = p @ Q  # [W]
    P = center if prior is None else _table("prior", prior)
    if P.shape != center.shape:
        raise ShapeError(
            f"{WHERE}: prior must be [W] = {list(center.shape)}; got {list(P.shape)}. Give one probability a weight."
        )
    _check("prior", P)
    drawn = p > 0  # what is never drawn may be infinitely far
    information, mean_kl = (float(p[drawn] @ _divergences(Q[drawn], base)) for base in (center, P))
    return ShannonInformation(information=information, mean_kl=mean_kl)


def _table(what: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"{WHERE}: {what} must be a table of numbers; got {type(given).__name__}. Pass a tensor, an array or "
            "nested lists of one length."
        ) from error


def _divergences(Q: Tensor, base: Tensor) -> Tensor:
    """KL of every row from one distribution, [D]; 0 log 0 is 0."""
    terms = torch.where(Q > 0, Q * (Q / base).log(), 0.0)
    return terms.sum(1)


def _check(what: str, p: Tensor) -> None:
    sums = p.sum(-1)
    if not bool((p >= 0).all()) or not bool(((sums - 1).abs() <= SUMS_TO_ONE).all()):
        off = sums.flatten()[(sums - 1).abs().nan_to_num(math.inf).argmax()] if p.numel() else 0.0
        got = f"a sum of {float(off):.6g}" if bool((p >= 0).all()) else f"{float(p.min()):.3g} among them"
        raise ConfigError(f"{WHERE}: {what} must be at least 0 and sum to 1; got {got}. Divide by the sum.")
