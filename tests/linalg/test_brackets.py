"""Both ends of a quadratic form bracket the truth of a dense solve, and close."""

import math

import pytest
import torch

from infotorch.errors import NumericsError
from infotorch.linalg.brackets import inverse_form


def problem(m=40, decay=0.5):
    rng = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(m, m, dtype=torch.float64, generator=rng)).Q
    K = (Q * torch.arange(m, dtype=torch.float64).mul(-decay).exp()) @ Q.mT
    return (K + K.mT) / 2, torch.randn(m, dtype=torch.float64, generator=rng)


def truth(K, r, ridge):
    return float(r @ torch.linalg.solve(K + ridge * torch.eye(len(K), dtype=K.dtype), r))


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1.0])
def test_ends_bracket_the_truth_at_every_step_and_only_come_closer(ridge):
    K, r = problem()
    exact = truth(K, r, ridge)
    before = 0.0, math.inf
    for steps in range(1, 31):
        found = inverse_form("here", lambda v: K @ v, r, ridge, tol=0, max_iter=steps)
        assert before[0] * (1 - 1e-12) <= found.lower <= exact * (1 + 1e-9)
        assert exact * (1 - 1e-9) <= found.upper <= before[1] * (1 + 1e-12)
        before = found.lower, found.upper
    assert before[1] / before[0] < 1.01


def test_a_node_above_zero_closes_the_bracket_sooner():
    K, r = problem(decay=0.0)
    K = K + torch.diag(torch.arange(40.0).double())
    widths = []
    for least in (0.0, 0.999):
        found = inverse_form("here", lambda v: K @ v, r, 1e-3, tol=0, max_iter=8, least=least)
        assert found.lower <= truth(K, r, 1e-3) <= found.upper
        widths.append(found.upper - found.lower)
    assert widths[1] < 0.01 * widths[0]


def test_what_bounds_the_form_of_a_basis_vector_bounds_the_upper_end():
    K, r = problem()
    inverse = torch.linalg.inv(K + 1e-3 * torch.eye(40, dtype=torch.float64))
    last = r

    def matvec(v):
        nonlocal last
        last = v
        return K @ v

    def exactly():
        return float(last @ inverse @ last)

    plain = inverse_form("here", lambda v: K @ v, r, 1e-3, tol=0, max_iter=6)
    helped = inverse_form("here", matvec, r, 1e-3, tol=0, max_iter=6, most=exactly)
    exact = truth(K, r, 1e-3)
    assert helped.lower == plain.lower
    assert helped.upper == pytest.approx(exact, rel=1e-10) and plain.upper > 1.01 * exact


def test_the_whole_space_is_exact():
    K = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=torch.float64))
    r = torch.tensor([1.0, 2.0, -1.0, 2.0], dtype=torch.float64)
    found = inverse_form("here", lambda v: K @ v, r, 1.0, tol=1e-12)
    assert found.iterations == 2 and found.lower <= found.upper
    assert found.upper == pytest.approx(6 / 4 + 4 / 2, rel=1e-12)
    assert found.largest == pytest.approx(3.0) and found.first == pytest.approx(22 / 10)


def test_an_indefinite_operator_is_refused():
    K = torch.diag(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64))
    with pytest.raises(NumericsError, match="here: K must be positive semi-definite; got an eigenvalue below"):
        inverse_form("here", lambda v: K @ v, torch.ones(3).double(), 2.0, tol=1e-3)


def test_a_bracket_that_stays_wide_is_refused_unless_steps_were_given(monkeypatch):
    monkeypatch.setattr("infotorch.linalg.brackets.MAX_STEPS", 3)
    K, r = problem()
    with pytest.raises(NumericsError, match=r"must be within tol=0.001 after 3 products; got .* Raise ridge or tol"):
        inverse_form("here", lambda v: K @ v, r, 1e-9, tol=1e-3)
    assert inverse_form("here", lambda v: K @ v, r, 1e-9, tol=1e-3, max_iter=3).iterations == 3


@pytest.mark.parametrize("ridge", [1e-9, 1e-12])
def test_a_residual_that_ends_the_krylov_space_leaves_its_bracket_open(ridge):
    """Eigenvalues within 1e-10 of the largest are one for Lanczos, and not for the inverse."""
    values = torch.tensor([1, 0.5, 0, 1e-11, 3e-11, 2e-10, 0.25], dtype=torch.float64)
    exact = float((1 / (values + ridge)).sum())
    found = inverse_form("here", lambda v: values * v, torch.ones(7).double(), ridge, tol=1e-3, max_iter=50)
    assert found.lower <= exact <= found.upper and found.lower < found.upper
    with pytest.raises(NumericsError, match="must be"):
        inverse_form("here", lambda v: values * v, torch.ones(7).double(), 1e-12, tol=1e-3)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4, 1.0, 100.0])
def test_no_end_is_off_by_rounding(ridge):
    """The whole space, where both rules are exact: the truth is that of the eigenvalues, to all digits."""
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        Q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=rng)).Q
        values = torch.tensor([1, 0.5, 0.2, 0.1, 0.01, 0.0], dtype=torch.float64)
        r = torch.randn(6, dtype=torch.float64, generator=rng)
        exact = float(((Q.mT @ r).square() / (values + ridge)).sum())
        found = inverse_form("here", lambda v, Q=Q, d=values: Q @ (d * (Q.mT @ v)), r, ridge, tol=0, max_iter=9)
        assert found.lower <= exact <= found.upper <= found.lower * (1 + 4e-14 * (1 + 1 / ridge))


def test_a_tolerance_below_rounding_is_refused():
    K, r = problem()
    with pytest.raises(NumericsError, match=r"here: tol must be at least .*, what rounding leaves open at ridge=1e-06"):
        inverse_form("here", lambda v: K @ v, r, 1e-6, tol=1e-9, scale=1.0)


def test_a_vector_that_the_operator_maps_to_zero_is_no_sign_of_an_indefinite_one():
    ones = torch.ones(2, 2, dtype=torch.float64)
    found = inverse_form("here", lambda v: ones @ v, torch.tensor([1.0, -1.0]).double(), 1.0, tol=1e-9, scale=2.0)
    assert found.lower == pytest.approx(2, rel=1e-12) and found.lower <= 2 <= found.upper
    for seed in range(200):
        J = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        K = J @ J.mT
        r = torch.linalg.eigh(K)[1][:, 0].contiguous()
        found = inverse_form("here", lambda v, K=K: K @ v, r, 1.0, tol=1e-9, scale=float(K.norm()))
        assert found.lower <= 1 + 1e-12 and found.upper >= 1 - 1e-12
