"""Passes over data against dense matrices."""

import pytest
import torch
from torch import nn

from infotorch.blocks import fisher
from infotorch.edit import passes
from infotorch.task import Task
from tests.edit.problems import classified, flat, net


class Positions(nn.Module):
    """Outputs [N, T, C]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(x).tanh() @ torch.eye(4, dtype=x.dtype)


def cases():
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(7, 3, generator=rng, dtype=torch.float64)
    yield "softmax", Task(net()), x, torch.randint(0, 3, (7,), generator=rng)
    yield "squared", Task(net(), loss="mse"), x, torch.randn(7, 3, generator=rng, dtype=torch.float64)
    yield "logit", Task(net((3, 4, 1)), loss="binary_cross_entropy"), x, torch.ones(7, dtype=torch.float64)
    torch.manual_seed(0)
    wide = torch.randn(7, 5, 3, generator=rng, dtype=torch.float64)
    yield "positions", Task(Positions().double().eval()), wide, torch.randint(0, 4, (7, 5), generator=rng)


@pytest.mark.parametrize(("task", "x", "y"), [pytest.param(*case[1:], id=case[0]) for case in cases()])
def test_curvature_product_is_that_of_the_matrix(task, x, y, rng, monkeypatch):
    v = torch.randn(flat(task.model).numel(), generator=rng, dtype=torch.float64)
    want = fisher(task, (x, y)).dense() @ v
    torch.testing.assert_close(passes.curvature_product(task, (x, y), v), want, rtol=1e-9, atol=1e-10)
    monkeypatch.setattr(passes, "BATCH_SIZE", 3)
    torch.testing.assert_close(passes.curvature_product(task, (x, y), v), want, rtol=1e-9, atol=1e-10)


def test_gradient_is_that_of_the_summed_loss(monkeypatch):
    task, x, y = classified()
    loss = nn.functional.cross_entropy(task.model(x), y, reduction="sum")
    want = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(task.model.parameters()))])
    monkeypatch.setattr(passes, "BATCH_SIZE", 7)
    torch.testing.assert_close(passes.gradient(task, (x, y)), want)


def test_an_unused_parameter_has_a_zero_gradient():
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "spare": nn.Linear(2, 1)}).double().eval()
    task = Task(model, loss="mse", forward=lambda model, x: model["used"](x))
    x = torch.ones(3, 2, dtype=torch.float64)
    found = passes.gradient(task, (x, x[:, :1]))
    assert found.shape == (6,) and not found[3:].any() and found[:3].any()


def test_digests_tell_samples_apart_by_input_and_label():
    task, x, y = classified()
    x[1], y[1] = x[0], y[0]
    x[2], y[2] = x[0], (y[0] + 1) % 3
    found = passes.digests("here", "retain", task, (x, y), "")
    assert len(found) == 19
    assert passes.digests("here", "retain", task, (x[:1], y[:1]), "") < found
