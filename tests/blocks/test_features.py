"""Rows of the outputs' Jacobian, whole and sketched."""

import pytest
import torch
from torch import nn

from infotorch import sketch
from infotorch.blocks.features import features
from infotorch.errors import CaptureError, ConfigError
from infotorch.task import Task
from tests.laws import assert_same, assert_same_bits


@pytest.fixture
def task():
    torch.manual_seed(0)
    return Task(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval())


@pytest.mark.parametrize("dim", [None, 51, 10**6])
def test_without_a_sketch_they_are_the_jacobian(dim, task, rng):
    x = torch.randn(5, 4, generator=rng, dtype=torch.float64)
    params = dict(task.model.named_parameters())
    J = torch.func.vmap(torch.func.jacrev(lambda p, x: torch.func.functional_call(task.model, p, (x,))), (None, 0))(
        {name: p.detach() for name, p in params.items()}, x
    )
    found = features(task, x, dim=dim)
    assert_same(found.rows, torch.cat([J[name].flatten(2) for name in params], 2))
    assert_same(found.outputs, task.model(x).detach())


@pytest.mark.parametrize("kind", ["sjlt", "kron"])
def test_below_they_are_sketches(kind, task, rng):
    x = torch.randn(5, 4, generator=rng, dtype=torch.float64)
    found = features(task, x, dim=40, seed=7, kind=kind)
    assert_same_bits(found.rows, sketch(task, x, dim=40, seed=7, kind=kind, seeds="logits"))


def test_a_memory_limit_changes_no_result(task, rng):
    x = torch.randn(40, 4, generator=rng, dtype=torch.float64)
    whole, parts = features(task, x, dim=20), features(task, x, dim=20, memory_limit=2000)
    assert_same(parts.rows, whole.rows)
    assert_same(parts.outputs, whole.outputs)


def test_refusals(task):
    with pytest.raises(ConfigError, match="dim must be"):
        features(task, torch.zeros(2, 4, dtype=torch.float64), dim=0)
    model = nn.Linear(3, 2)
    model.free = nn.Parameter(torch.zeros(2))

    def forward(model, x):
        return model(x) + model.free * x.sum()

    with pytest.raises(CaptureError):
        features(Task(model.eval(), forward=forward), torch.zeros(2, 3), dim=4)
