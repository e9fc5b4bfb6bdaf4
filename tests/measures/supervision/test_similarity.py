"""Similarity of kernels against its definition, and its laws."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import Task, ntk_similarity
from infotorch.errors import ConfigError, DataError, ShapeError
from tests import oracles


def network(width, C=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, C)).double().eval()


X = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def truth(kernels):
    H = np.eye(len(kernels[0])) - 1 / len(kernels[0])
    one, two = (H @ K @ H for K in kernels)
    return (one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two)


@pytest.mark.parametrize("kernel", ["avg", "full"])
def test_it_equals_its_definition(kernel):
    models = network(5), network(9, seed=1)
    kernels = []
    for model in models:
        J = oracles.jacobian(copy.deepcopy(model), X)
        full = torch.einsum("ncp,mdp->ncmd", J, J)
        mean = full.diagonal(dim1=1, dim2=3).mean(-1)
        kernels.append((full.reshape(24, 24) if kernel == "full" else mean).numpy())
    found = ntk_similarity(*map(Task, models), (X, torch.zeros(8)), kernel=kernel)
    assert found == pytest.approx(truth(kernels), rel=1e-11) and 0 < found < 1
    assert ntk_similarity(*map(Task, models[::-1]), X, kernel=kernel) == pytest.approx(found, rel=1e-12)


def test_a_network_is_like_itself_at_any_scale():
    model = network(5)
    louder = copy.deepcopy(model)
    louder[2].weight.data *= 2
    twice = Task(model, forward=lambda model, x: 2 * model(x))
    assert ntk_similarity(Task(model), twice, X) == pytest.approx(1.0, rel=1e-12)
    assert ntk_similarity(Task(model), Task(louder), X) < 1 - 1e-4


def test_networks_may_differ_in_outputs_for_the_mean_alone():
    a, b = Task(network(5)), Task(network(5, C=2))
    assert 0 < ntk_similarity(a, b, X) <= 1
    with pytest.raises(ShapeError, match=r"full kernels must have one size; got \[24, 24\] and \[16, 16\]"):
        ntk_similarity(a, b, X, kernel="full")


def test_bad_input_is_refused():
    task = Task(network(5))
    with pytest.raises(ConfigError, match="kernel must be one of 'avg', 'full'; got 'mean'"):
        ntk_similarity(task, task, X, kernel="mean")
    with pytest.raises(ConfigError, match="networks must be Tasks; got Sequential"):
        ntk_similarity(task, network(5), X)
    with pytest.raises(DataError, match="at least two samples; got 1"):
        ntk_similarity(task, task, X[:1])
    with pytest.raises(DataError, match="centred kernels must not be zero"):
        ntk_similarity(task, task, torch.ones(3, 4, dtype=torch.float64))
