"""Conjugate gradients against a solve."""

import pytest
import torch

from infotorch.errors import NumericsError
from infotorch.linalg.cg import conjugate_gradients


def system(rng, m=30):
    A = torch.randn(m, m, generator=rng, dtype=torch.float64)
    return A @ A.mT + torch.eye(m, dtype=torch.float64), torch.randn(m, generator=rng, dtype=torch.float64)


def test_it_solves(rng):
    A, b = system(rng)
    found = conjugate_gradients("here", lambda v: A @ v, b, diagonal=A.diagonal())
    torch.testing.assert_close(found, torch.linalg.solve(A, b), rtol=1e-7, atol=1e-9)


def test_its_preconditioner_solves_a_diagonal_at_once(rng):
    d = torch.logspace(-6, 6, 20, dtype=torch.float64)
    b = torch.randn(20, generator=rng, dtype=torch.float64)
    calls = []
    conjugate_gradients("here", lambda v: calls.append(1) or d * v, b, diagonal=d)
    assert len(calls) == 2  # one to solve, one to check


def test_zero_has_the_solution_zero():
    b = torch.zeros(3, dtype=torch.float64)
    assert not conjugate_gradients("here", lambda v: 2 * v, b, diagonal=torch.ones(3).double()).any()


def test_what_it_cannot_solve_is_refused(rng):
    A, b = system(rng)
    with pytest.raises(NumericsError, match="here: the matrix must be positive definite; got a curvature of -"):
        conjugate_gradients("here", lambda v: -(A @ v), b, diagonal=A.diagonal())
    with pytest.raises(NumericsError, match=r"residual of at most 1e-08 .* after at most 2 products. Raise damping"):
        conjugate_gradients("here", lambda v: A @ v, b, diagonal=A.diagonal(), max_iter=2)
