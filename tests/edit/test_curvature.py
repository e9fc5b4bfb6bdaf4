"""Powers and solves of what is kept of a curvature."""

import pytest
import torch

from infotorch.blocks import fisher
from infotorch.edit.curvature import curvature, whole_curvature
from infotorch.errors import NumericsError
from infotorch.task import Task
from tests.edit.problems import classified, net


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_powers_multiply_and_solves_are_of_the_whole(structure, rng):
    task, x, y = classified()
    H = curvature(task, (x, y), structure, shift=0.2, damping=0.2)
    F = fisher(task, (x, y)).dense()
    F.diagonal().add_(0.2)
    v = torch.randn(len(F), generator=rng, dtype=torch.float64)
    V = torch.stack([v, 2 * v], 1)
    torch.testing.assert_close(H.solve(v), torch.linalg.solve(F, v), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(H.times(H.times(v, -0.25), 0.25), v)
    torch.testing.assert_close(H.times(V, -0.5), torch.stack([H.times(v, -0.5), 2 * H.times(v, -0.5)], 1))
    kept = F if structure == "full" else F.diagonal()
    torch.testing.assert_close(H.matrix(1.0), kept, rtol=1e-9, atol=1e-12)
    half = H.matrix(0.5)
    torch.testing.assert_close(half @ half if structure == "full" else half * half, kept, rtol=1e-9, atol=1e-12)


def test_more_data_add_to_the_curvature():
    task, x, y = classified()
    some = curvature(task, (x[:8], y[:8]), "full", shift=0.2, damping=0.2)
    whole = curvature(task, (x, y), "full", shift=0.2, damping=0.2)
    both = whole_curvature(task, some, (x[8:], y[8:]), None)
    torch.testing.assert_close(both.matrix(1.0), whole.matrix(1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_is_singular_in_either_precision(dtype):
    task, x, y = classified(N=200, dtype=dtype)
    with pytest.raises(NumericsError, match="Raise damping"):
        curvature(task, (x, y), "full", shift=0.0, damping=0.0)


def test_a_dead_unit_has_no_diagonal():
    model = net((3, 4, 1))
    model[2].weight.data[:, 2] = 0
    task = Task(model, loss="mse")
    x = torch.randn(6, 3, dtype=torch.float64)
    with pytest.raises(NumericsError, match="got a smallest eigenvalue of 0 beside"):
        curvature(task, (x, x[:, :1]), "diagonal", shift=0.0, damping=0.0)
