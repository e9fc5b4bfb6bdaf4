import math

import pytest
import torch

from infotorch.linalg.symmetric import asymmetry, inverse, is_positive_definite
from tests.laws import assert_same


@pytest.mark.parametrize("m", [1, 3, 512, 513, 1025])
def test_the_largest_asymmetry_is_found_in_any_tile(m):
    K = torch.zeros(m, m).double()
    assert asymmetry(K) == 0
    K[m - 1, 0] += 3
    assert asymmetry(K) == (0 if m == 1 else 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_shows(value):
    K = torch.zeros(5, 5).double()
    K[2, 2] = value
    assert not math.isfinite(asymmetry(K))


@pytest.mark.parametrize("m", [1, 2, 37])
def test_inverse(m, rng):
    J = torch.randn(m, 2 * m, generator=rng).double()
    A = J @ J.mT
    B = inverse(A.clone())
    assert_same(B @ A, torch.eye(m).double())
    assert (B == B.mT).all()


def test_no_inverse_where_cholesky_fails():
    A = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).double()
    assert inverse(A.clone()) is None
    assert not is_positive_definite(A, 0.5)
    assert is_positive_definite(A, 1.5)
    assert A.tolist() == [[1.0, 2.0], [2.0, 1.0]]
