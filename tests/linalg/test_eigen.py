import torch

from infotorch.linalg.eigen import eigh, extreme_eigenvalues
from tests.laws import assert_same, assert_same_bits


def kernel(m, rng, rank=None):
    J = torch.randn(m, rank or m, generator=rng).double()
    return J @ J.mT


def test_the_factors_multiply_to_the_matrix(rng):
    K = kernel(30, rng)
    before = K.clone()
    eigen = eigh(K)
    assert_same(eigen.vectors.mT @ (eigen.values[:, None] * eigen.vectors), K)
    assert_same(eigen.vectors @ eigen.vectors.mT, torch.eye(30).double())
    assert (eigen.values.diff() >= 0).all()
    assert_same_bits(K, before)


def test_overwriting_gives_the_same_bits_in_the_same_memory(rng):
    K = kernel(30, rng)
    apart = eigh(K)
    inside = eigh(K, overwrite=True)
    assert inside.vectors.data_ptr() == K.data_ptr()
    assert_same_bits(inside.vectors, apart.vectors)
    assert_same_bits(inside.values, apart.values)


def test_extremes_of_a_large_matrix(rng):
    K = kernel(401, rng, rank=200)  # one more than LAPACK would take
    K -= 50 * torch.ones(401, 401).double() / 401  # one negative eigenvalue apart from the rest
    low, high = extreme_eigenvalues(K)
    truth = torch.linalg.eigvalsh(K)
    assert abs(high - truth[-1]) < 1e-8 * truth[-1]
    assert abs(low - truth[0]) < 1e-6 * truth[-1]


def test_extremes_of_a_matrix_of_rank_one():
    """Lanczos ends early, and says so by stopping."""
    low, high = extreme_eigenvalues(torch.full((500, 500), 2.0).double())
    assert abs(high - 1000) < 1e-9 and abs(low) < 1e-9
