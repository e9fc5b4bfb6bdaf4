import math
from fractions import Fraction

import pytest

from infotorch.measures.kl_inverse import kl_gap


def coin_divergence(r, q):
    return sum(a * math.log(a / b) for a, b in ((r, q), (1 - r, 1 - q)) if a > 0)


def exact_kl(r, q, terms=60):
    """d(r‖q) of fractions: -log(1 - z) by its series in exact numbers, for q close to r."""
    r, q = Fraction(r), Fraction(q)

    def log_ratio(a, b):
        z = 1 - b / a
        return sum(z**k / k for k in range(1, terms))

    return float(r * log_ratio(r, q) + (1 - r) * log_ratio(1 - r, 1 - q))


@pytest.mark.parametrize("r", [5e-324, 1e-6, 0.03, 0.5, 0.97, 1 - 1e-6])
@pytest.mark.parametrize("level", [1e-18, 1e-9, 1e-4, 0.1, 3.0, 50.0])
def test_the_gap_is_where_the_divergence_reaches_the_level(r, level):
    x = kl_gap(r, level)
    assert 0 < x <= 1 - r
    if x < 0.1 * min(r, 1 - r):
        assert exact_kl(Fraction(r), Fraction(r) + Fraction(x)) == pytest.approx(level, rel=1e-10)
    elif 1 - r - x > 1e-9 * (1 - r):
        assert coin_divergence(r, r + x) == pytest.approx(level, rel=1e-6)


def test_the_ends():
    assert kl_gap(1.0, 0.3) == kl_gap(0.4, 0.0) == 0
    assert kl_gap(0.0, 1e-20) == pytest.approx(1e-20) and kl_gap(0.0, 0.7) == pytest.approx(1 - math.exp(-0.7))
    assert kl_gap(0.3, math.inf) == pytest.approx(0.7)


def test_the_gap_grows_with_the_level():
    levels = [10.0**k for k in range(-20, 3)]
    gaps = [kl_gap(0.2, level) for level in levels]
    assert gaps == sorted(gaps) and len(set(gaps)) > 20
