import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from infotorch.linalg.symmetric import LowerTriangle, asymmetry, inverse, is_positive_definite, mirror
from tests.laws import assert_same


@pytest.mark.parametrize("m", [1, 3, 512, 513, 1025])
def test_the_largest_asymmetry_is_found_in_any_tile(m):
    K = torch.zeros(m, m).double()
    assert asymmetry(K) == 0
    K[m - 1, 0] += 3
    assert asymmetry(K) == (0 if m == 1 else 3)


class Allocated(TorchDispatchMode):
    """Bytes of every storage that an operation makes, in ``each``."""

    def __init__(self):
        super().__init__()
        self.each = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {given.untyped_storage().data_ptr() for given in tree_leaves((args, kwargs)) if torch.is_tensor(given)}
        out = function(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if torch.is_tensor(made) and made.untyped_storage().data_ptr() not in before:
                self.each.append(made.untyped_storage().nbytes())
        return out


def test_the_largest_asymmetry_takes_one_tile_of_memory():
    K = torch.zeros(1300, 1300).double()
    with Allocated() as allocated:
        asymmetry(K)
    assert sum(allocated.each) <= 8 * 512**2 + 1000


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


@pytest.mark.parametrize("m", [0, 1, 5, 128, 300])
def test_mirror_copies_the_lower_triangle(m, rng):
    A = torch.randn(m, m, dtype=torch.float64, generator=rng)
    lower = A.tril()
    mirror(A)
    assert torch.equal(A, lower + lower.tril(-1).mT)


@pytest.mark.parametrize("n", [1, 127, 128, 300])
def test_sums_of_lower_triangles_are_those_of_the_matrices(n):
    X = torch.randn(3, 2, n, n, generator=torch.Generator().manual_seed(0))
    X = X + X.mT
    held = LowerTriangle(X[0])
    for matrices in X[1:]:
        held.add_(matrices)
    assert torch.equal(held.full(), X.double().sum(0))
    assert held.shape == (2, n, n)
    assert torch.equal(held.diagonal(), held.full().diagonal(dim1=1, dim2=2))
    numbers = sum(strip.numel() for strip in held.strips)
    assert numbers <= 2 * n * (n + 128) / 2 + 2 * 128**2, "else all of it is held"


def test_a_lower_triangle_is_a_copy():
    X = torch.eye(3).double()[None]
    held = LowerTriangle(X)
    held.add_(X)
    held.full().zero_()
    assert torch.equal(held.full(), 2 * X)
    assert torch.equal(X[0], torch.eye(3).double())
