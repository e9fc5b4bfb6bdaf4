"""Laws of the right-hand sides."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch.bounds.theory.formulas import formula, plain_lipschitz
from infotorch.bounds.theory.statements import BOUNDS
from tests.bounds.enumerated import coin_divergence

LN2 = math.log(2)
INFORMED = {id: bound for id, bound in BOUNDS.items() if bound.information}
NATS = st.floats(0, LN2 / 2)  # under every ceiling


def options(id):
    return {"train_risk": 0.2} if id == "kl" else {}


@pytest.mark.parametrize("id", INFORMED)
@given(low=NATS, more=NATS, n=st.integers(2, 50))
@settings(max_examples=20, deadline=None)
def test_more_information_never_gives_a_smaller_bound(id, low, more, n):
    smaller, larger = (formula(id, nats, n=n, **options(id)) for nats in (low, low + more))
    assert 0 <= smaller <= larger * (1 + 1e-12)


@given(nats=st.floats(1e-6, LN2), risk=st.floats(0, 0.999))
@settings(max_examples=100, deadline=None)
def test_fast_rate_is_the_largest_risk(nats, risk):
    bound = formula("kl", nats, n=9, train_risk=risk)
    assert risk <= bound <= 1
    if bound < 1:
        assert coin_divergence(risk, (risk + bound) / 2) == pytest.approx(nats, rel=1e-6)
        assert coin_divergence(risk, (risk + min(1.0, bound + 1e-3)) / 2) > nats
    else:
        assert coin_divergence(risk, (risk + 1) / 2) <= nats


def test_ends():
    assert formula("kl", 0.0, n=3, train_risk=0.3) == 0.3
    assert formula("kl", 0.0, n=3, train_risk=1.0) == 1.0 == formula("kl", LN2, n=3, train_risk=0.0)
    assert formula("kl", 0.2, n=3, train_risk=0.0) == pytest.approx(formula("interp", 0.2, n=3), rel=1e-12)
    assert formula("interp", LN2, n=3) == pytest.approx(formula("interp", LN2, n=3, zero_one=True), rel=1e-12)
    assert formula("interp", 0.2, n=3, zero_one=True) == pytest.approx(0.2 / LN2, rel=1e-12)
    assert formula("interp", 0.2, n=3, zero_one=True) < formula("interp", 0.2, n=3)
    assert formula("fcmi", LN2, n=3) == pytest.approx(1.17741, abs=5e-6)
    assert formula("fcmi2_tight", 0.0, n=4) == 0.25 == formula("pair2", 0.0, n=4)
    assert formula("xr", math.inf, n=4) == math.inf
    assert formula("seeded", [[0.1, 0.1], [math.inf, 0.1]], n=2, weights=[1, 0]) == formula("bu", 0.1, n=2)
    assert formula("fcmi", -1e-13, n=3) == 0 == formula("fcmi", 1e-15, n=3)
    assert formula("finite", size=1) == 0
    assert formula("subset", [0.1] * 3, n=9, m=2) == pytest.approx(formula("subset", 0.1, n=9, m=2), rel=1e-12)


@given(nats=st.floats(0, 3), c=st.floats(0.01, 0.99))
def test_no_constant_beats_the_best_one(nats, c):
    assert formula("fcmi2_tight", nats, n=7) <= formula("fcmi2_tight", nats, n=7, c=c) * (1 + 1e-12)


@given(
    d=st.integers(1, 50), gamma=st.floats(0, 10), beta=st.floats(0, 10), constant=st.sampled_from(["sharp", "paper"])
)
def test_the_plain_lipschitz_bound_is_smaller_where_the_other_says_anything(d, gamma, beta, constant):
    if (bound := formula("stable", d=d, gamma=gamma, beta=beta, constant=constant)) < 1:
        assert plain_lipschitz(gamma=gamma, beta=beta) <= bound


def test_squared_stability_by_hand():
    """2 · 0.01 + 50 · 0.04 + 50 · 0.09 = 6.52 under the root, 12³ = 1728; a derivation has 8√2 in place of 12^{3/2}."""
    setting = {"d": 4, "gamma": 0.5, "beta": 0.1, "beta1": 0.2, "beta2": 0.3, "n": 50}
    got = formula("stable2", **setting)
    assert got == pytest.approx(0.64 + math.sqrt(1728 * 6.52), rel=1e-12)
    noise = [0.1 * 1.02**k for k in range(300)]  # s: information left, and what the noise costs
    derived = min(32 / 50 + 4 * 6.52 / s**2 + 8 * 0.5**2 * s**2 * 4 for s in noise)
    assert derived == pytest.approx(0.64 + 8 * math.sqrt(2 * 6.52), rel=1e-3)
    assert derived < got
