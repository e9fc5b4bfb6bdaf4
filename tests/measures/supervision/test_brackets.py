"""Preconditioned brackets hold the truth, and close in fewer products."""

from dataclasses import replace

import pytest
import torch

from infotorch.errors import NumericsError
from infotorch.measures.supervision.brackets import Product, by_products
from infotorch.measures.supervision.inputs import Ridges

N, C = 30, 3


def problem():
    """Outputs whose kernels differ around a mean with fast-falling eigenvalues."""
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(N, 200, dtype=torch.float64, generator=rng) * torch.arange(200).mul(-0.1).exp()
    J = torch.stack([features * (1 + 0.3 * torch.randn(200, generator=rng)) for _ in range(C)], 1)
    blocks = torch.zeros(N, C, C * 200, dtype=torch.float64)
    for c in range(C):
        blocks[:, c, 200 * c : 200 * (c + 1)] = J[:, c]
    K = blocks.view(N * C, -1) @ blocks.view(N * C, -1).mT
    return K, torch.randn(N, C, dtype=torch.float64, generator=rng)


def found(K, r, ridge_rel, **options):
    mean = K.view(N, C, N, C).diagonal(dim1=1, dim2=3).mean(-1)
    product = Product(matvec=lambda v: K @ v, trace=float(K.trace()), frobenius=None, eps=2.0**-52, mean=mean)
    plain = Product(matvec=lambda v: K @ v, trace=float(K.trace()), frobenius=None, eps=2.0**-52)
    ridges = Ridges.of(None, ridge_rel)
    return tuple(by_products(each, {"r": r}, ridges, **options)["r"] for each in (plain, product))


@pytest.mark.parametrize("ridge_rel", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("steps", [1, 2, 5, 9, 20])
def test_both_brackets_hold_the_truth(ridge_rel, steps):
    K, r = problem()
    rho = ridge_rel * float(K.trace()) / (N * C)
    exact = float(r.flatten() @ torch.linalg.solve(K + rho * torch.eye(N * C, dtype=K.dtype), r.flatten()))
    for each in found(K, r, ridge_rel, tol=0.0, max_iter=steps):
        assert each["lower"][0] <= exact * (1 + 1e-9) and exact * (1 - 1e-9) <= each["upper"][0]


def test_the_mean_kernel_saves_products():
    K, r = problem()
    plain, helped = found(K, r, 1e-3, tol=1e-2)
    assert helped["iterations"] < 0.6 * plain["iterations"]
    for each in (plain, helped):
        assert each["upper"][0] <= 1.01 * each["lower"][0]


def test_a_ridge_that_rounding_would_reach_is_not_preconditioned():
    K, r = problem()
    plain, helped = found(K, r, 1e-8, tol=0.0, max_iter=5)
    assert plain == helped


def test_the_largest_eigenvalue_is_found_once_for_all_targets_and_not_from_them():
    values = torch.tensor([1.0, 1e-7, 1e-7, 1e-7], dtype=torch.float64)
    calls = []

    def matvec(v):
        calls.append(v)
        return values * v

    product = Product(matvec=matvec, trace=float(values.sum()), frobenius=None, eps=2.0**-23)
    r = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    with pytest.raises(NumericsError, match="for a kernel from float32; got 1e-07 beside 1"):
        by_products(product, {"r": r}, Ridges.of(1e-7, None), tol=1e-3)
    known = len(calls)
    found = by_products(product, {"a": r, "b": 2 * r}, Ridges.of(1.0, None), tol=1e-3)
    assert len(calls) == 2 * known + found["a"]["iterations"] + found["b"]["iterations"]
    calls.clear()
    product = replace(product, eps=2.0**-52, mean=torch.diag(values[:2]))
    found = by_products(product, {"a": r, "b": 2 * r}, Ridges.of(1.0, None), tol=1e-3)
    assert len(calls) == found["a"]["iterations"] + found["b"]["iterations"]


@pytest.mark.parametrize("seed", [276, 1195])
def test_rounding_of_a_preconditioned_product_is_in_the_bracket(seed):
    """Of random kernels those that are farthest off: a small ridge, and eigenvalues from the singular values of J."""
    rng = torch.Generator().manual_seed(seed)
    n, c = (int(torch.randint(low, high, (1,), generator=rng)) for low, high in ((2, 9), (1, 4)))
    p = int(torch.randint(1, 2 * n * c, (1,), generator=rng))
    J = torch.randn(n * c, p, dtype=torch.float64, generator=rng)
    J = J * 10 ** (-5 * torch.rand(p, generator=rng).double())
    K, (Q, s, _) = J @ J.mT, torch.linalg.svd(J)
    values = torch.zeros(n * c, dtype=torch.float64)
    values[: len(s)] = s.square()
    r = torch.randn(n * c, dtype=torch.float64, generator=rng) if seed % 3 else Q[:, -1].contiguous()
    mean = K.view(n, c, n, c).diagonal(dim1=1, dim2=3).mean(-1)
    rho = float(torch.linalg.eigvalsh(mean)[-1]) * float(10 ** (-5.9 * torch.rand(1, generator=rng).double()))
    product = Product(matvec=lambda v: K @ v, trace=float(K.trace()), frobenius=None, eps=2.0**-52, mean=mean)
    found = by_products(product, {"r": r.view(n, c)}, Ridges.of(rho, None), tol=0.0, max_iter=200)["r"]
    exact = float(((Q.mT @ r).square() / (values + rho)).sum())
    assert found["lower"][0] <= exact <= found["upper"][0] <= found["lower"][0] * (1 + 1e-5)
