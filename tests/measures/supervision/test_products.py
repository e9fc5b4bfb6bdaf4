"""Products with a network's kernel, and its diagonal, against the Jacobian."""

import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.measures.supervision import products
from infotorch.measures.supervision.products import diagonal, product_of_task
from tests.blocks.cases import MODELS, case


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [3, 128])
def test_products_and_diagonal_are_those_of_the_jacobian(name, size, monkeypatch, rng):
    monkeypatch.setattr(products, "BATCH_SIZE", size)
    made = case(name)
    N, C, _ = made.J.shape
    for factor in (None, torch.randn(N, C, C, dtype=torch.float64, generator=rng)):
        if factor is not None:
            if made.task.outputs(made.x).dim() > 2:
                continue
            factor = factor + factor.mT
        J = (made.J if factor is None else factor @ made.J).flatten(0, 1)
        diag = diagonal(made.task, made.x, factor)
        assert torch.allclose(diag.flatten(), J.square().sum(1), rtol=1e-11)
        product = product_of_task(made.task, made.x, factor, diag)
        v = torch.randn(N * C, dtype=torch.float64, generator=rng)
        want = J @ (J.mT @ v)
        assert (product.matvec(v) - want).norm() < 1e-11 * want.norm()
        assert product.trace == pytest.approx(float(J.square().sum()), rel=1e-11)
        assert (product.mean is None) == (factor is not None)


def test_a_mean_kernel_that_is_too_large_or_of_float32_is_not_formed(monkeypatch):
    x, model = torch.randn(5, 4), nn.Linear(4, 2).eval()
    assert product_of_task(Task(model), x, None, torch.ones(5, 2).double()).mean is None
    monkeypatch.setattr(products, "LARGEST_MEAN", 4)
    assert product_of_task(Task(model.double()), x.double(), None, torch.ones(5, 2).double()).mean is None
