import math

import numpy as np
import pytest
import torch

from infotorch.errors import ConfigError, NumericsError
from infotorch.linalg import definite
from infotorch.linalg.definite import Cholesky, check_shift, checked_eigenvalues, checked_eigh, log_sum
from tests.laws import assert_same


def matrix(rng, m=6, condition=1e8):
    """Symmetric, with eigenvalues from 1 / condition to 1."""
    Q = torch.linalg.qr(torch.randn(m, m, dtype=torch.float64, generator=rng)).Q
    values = torch.logspace(-math.log10(condition), 0, m, dtype=torch.float64)
    A = Q @ values.diag() @ Q.mT
    return (A + A.mT) / 2, values


def test_ill_conditioned_solves_and_determinants(rng):
    A, values = matrix(rng)
    found = Cholesky("block.solve", A, 0.0, "damping")
    X = torch.randn(6, 2, dtype=torch.float64, generator=rng)
    assert (found.solve(A @ X) - X).norm() < 1e-7 * X.norm()
    assert found.logdet() == pytest.approx(float(values.log().sum()), rel=1e-8)
    shifted = Cholesky("block.solve", A, 0.5, "damping")
    assert_same(shifted.solve(X), torch.from_numpy(np.linalg.solve(A.numpy() + 0.5 * np.eye(6), X.numpy())))
    assert shifted.logdet() == pytest.approx(float((values + 0.5).log().sum()), rel=1e-12)


@pytest.mark.parametrize("columns", [1, 4, 512])
def test_the_trace_of_an_inverse(columns, rng, monkeypatch):
    monkeypatch.setattr(definite, "COLUMNS", columns)
    A, values = matrix(rng, m=9, condition=1e3)
    found = Cholesky("here", A, 0.1, "ridge").inverse_trace()
    assert found == pytest.approx(float((1 / (values + 0.1)).sum()), rel=1e-12)


def test_a_factor_in_place_is_the_same(rng):
    A, _ = matrix(rng)
    whole, own = Cholesky("here", A, 0.5, "ridge"), A.clone()
    found = Cholesky("here", own, 0.5, "ridge", overwrite=True)
    assert torch.equal(found.L, whole.L)
    assert found.L.data_ptr() == own.data_ptr()
    with pytest.raises(NumericsError, match="got a pivot"):
        Cholesky("here", -A, 0.0, "ridge", overwrite=True)


@pytest.mark.parametrize("bad", [-1.0, 0.0, float("nan")])
def test_what_is_not_positive_definite_is_refused(bad):
    A = torch.diag(torch.tensor([1.0, bad, 2.0]).double())
    with pytest.raises(NumericsError, match=r"here: the matrix must be positive definite with ridge=0; got a pivot .*"):
        Cholesky("here", A, 0.0, "ridge")
    with pytest.raises(NumericsError, match=r"with ridge=0; got an eigenvalue of .* in all. Raise ridge."):
        log_sum("here", A.diagonal(), 0.0, "ridge")


def test_rounding_below_zero_is_zero_and_more_is_refused():
    values = torch.tensor([-1e-16, 0.5, 1.0]).double()
    assert checked_eigenvalues("here", values).tolist() == [0.0, 0.5, 1.0]
    for bad in (-1e-12, float("nan")):
        values[0] = bad
        with pytest.raises(NumericsError, match="here: the matrix must be positive semi-definite; got an"):
            checked_eigenvalues("here", values)
    assert checked_eigenvalues("here", torch.zeros(0)).shape == (0,)


def test_eigenvectors_are_rows(rng):
    A, values = matrix(rng)
    found = checked_eigh("here", A)
    assert_same(found.vectors.mT @ found.values.diag() @ found.vectors, A)
    assert (found.values - values).abs().max() < 1e-15
    A[0, 0] = float("inf")
    with pytest.raises(NumericsError, match="here: the matrix must be finite"):
        checked_eigh("here", A)


def test_shifts():
    assert check_shift("here", "ridge", 3) == 3.0
    with pytest.raises(ConfigError, match=r"here: ridge must be finite and at least 0; got -0.5"):
        check_shift("here", "ridge", -0.5)
