"""What multiplicative log-normal noise on the weights leaves of the input in the activations."""

import math
from collections.abc import Sequence
from typing import Any

from infotorch.errors import ConfigError, ShapeError, check_number

__all__ = ["lognormal_bound"]

WHERE = "lognormal_bound"


def lognormal_bound(alpha: float | Sequence[float], dim: int | Sequence[int]) -> float:
    r"""Bound on I(x; z) of a layer whose weights have log-normal noise, :math:`\dim z\, [g(\alpha) + 1]` nats.

    :math:`g(\alpha) = -\frac12 \log(1 - e^{-\alpha})`. For a chain of layers it is the smallest of theirs (Achille and
    Soatto, arXiv 1706.01350, proposition 5.2 and corollary 5.3). It holds for independent noise of variance alpha on
    every weight, with uncorrelated inputs of bounded kurtosis: a statement about noise that is put in, not about a
    network as it was trained.

    Args:
        alpha: The noise's variance, above 0; one a layer for a chain.
        dim: Units of the layer; as many as there are alphas.

    Returns:
        Nats.

    Raises:
        ConfigError: An alpha is not above 0, or a dim not at least 1.
        ShapeError: There are not as many alphas as dims, or none.

    Example:
        >>> round(lognormal_bound(math.log(2), 10), 6)  # 10 (log(2) / 2 + 1)
        13.465736
    """
    alphas, dims = _each("alpha", alpha), _each("dim", dim)
    if not alphas or len(alphas) != len(dims):
        raise ShapeError(
            f"{WHERE}: alpha and dim must have one entry a layer; got {len(alphas)} and {len(dims)}. Pass both alike."
        )
    for a, d in zip(alphas, dims, strict=True):
        if not a > 0:
            raise ConfigError(f"{WHERE}: alpha must be above 0; got {a}. Without noise there is no bound.")
        if not 1 <= d < math.inf:
            raise ConfigError(f"{WHERE}: dim must be at least 1; got {d}. Pass the number of units.")
    return min(float(d) * (1 - math.log(-math.expm1(-float(a))) / 2) for a, d in zip(alphas, dims, strict=True))


def _each(what: str, given: Any) -> list[float]:
    many = (
        list(given)
        if hasattr(given, "__iter__") and getattr(given, "ndim", 1) != 0 and not isinstance(given, str)
        else [given]
    )
    return [check_number(WHERE, what, one, "Pass a number, or one a layer.") for one in many]
