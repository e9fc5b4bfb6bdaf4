"""What repeats say: their mean, its standard error, and how surely it isn't 0."""

import math
import statistics
from collections.abc import Sequence

__all__ = ["confidence", "mean_of"]


def mean_of(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error of independent repeats; no error of one repeat."""
    stderr = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), stderr


def confidence(mean: float, stderr: float, repeats: int) -> float:
    """How often the mean of as many normal repeats around 0 is nearer to 0, in standard errors: 1 - p of a t test.

    The probability that Student's t of ``repeats - 1`` degrees of freedom lies within ``mean / stderr``, by its finite
    sum (Abramowitz and Stegun 1964, eqs. 26.7.3 and 26.7.4).

    Args:
        mean: Of the repeats.
        stderr: Its standard error, at least 0.
        repeats: How many, at least 2.

    Returns:
        A number in [0, 1]; 0 where the mean is 0.
    """
    degrees = repeats - 1
    odd = degrees % 2
    angle = math.atan2(abs(mean), stderr * math.sqrt(degrees))
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
