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
    assert helped.upper == pytest.approx(exact, rel=1e-12) and plain.upper > 1.01 * exact


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
