"""The inverse of the divergence of two coins: the largest bias that it allows."""

import math

__all__ = ["kl_gap"]

SERIES = 0.02
"""Up to it z - log(1 + z) is summed, as the two would cancel."""
TERMS = 11
"""Of the series: the next would be below 0.02^12, far under rounding."""


def kl_gap(r: float, level: float) -> float:
    r"""The largest x in [0, 1 - r] with :math:`d(r \| r + x) \le` level; by bisection, as d grows with x.

    To rounding for small levels too: with :math:`g(z) = z - \log(1 + z) \ge 0` the divergence is
    :math:`r\, g(x / r) + (1 - r)\, g(-x / (1 - r))`, a sum in which nothing cancels.

    Args:
        r: In [0, 1].
        level: Nats, at least 0.
    """
    room = 1 - r
    if room == 0 or level == 0:
        return 0.0
    if r == 0:
        return -math.expm1(-level)

    def allowed(x: float) -> bool:
        return x < room and _excess(r, x) + _excess(room, -x) <= level

    low, high = 0.0, room
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return high


def _excess(r: float, x: float) -> float:
    """R g(x / r), for x > -r."""
    if abs(x) > SERIES * r:
        return x - r * (math.log(r + x) - math.log(r))
    z = -x / r
    return r * sum(z**k / k for k in range(TERMS, 1, -1))
