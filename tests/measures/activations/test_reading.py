import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.errors import ConfigError
from infotorch.measures.activations.reading import Reading, input_jacobian, layers_of, rows_of
from tests.measures.activations.truth import jacobians


class Odd(nn.Module):
    """Layers that can't be read, beside some that can."""

    def __init__(self):
        super().__init__()
        self.late, self.early = nn.Linear(3, 2), nn.Linear(3, 3)
        self.twice, self.never, self.both = nn.Tanh(), nn.Tanh(), nn.LSTM(3, 3)

    def forward(self, x):
        h, _ = self.both(self.twice(self.twice(self.early(x))))
        return self.late(h)


def odd():
    return Task(Odd().double().eval(), loss="mse"), torch.ones(1, 3, dtype=torch.float64)


def test_layers_come_in_the_order_in_which_they_run():
    task, x = odd()
    found = layers_of(task, ["", "late", "early"], x)
    assert [(layer.path, layer.width) for layer in found] == [("early", 3), ("late", 2), ("", 2)]
    assert all(layer.follows for layer in found)


def test_one_path_will_do():
    task, x = odd()
    assert [layer.path for layer in layers_of(task, "early", x)] == ["early"]


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (["lat"], r"layers must be one of 'late', .*; got 'lat'\. Did you mean 'late'\?"),
        (["never"], r"must name modules that run once a forward; got 'never', which runs 0 times\. Name a module"),
        (["twice"], r"must name modules that run once a forward; got 'twice', which runs 2 times\. Name a module"),
        (["both"], r"output must be one tensor of floats \[N, \.\.\.\]; got tuple from 'both'\. Name"),
        ([], r"layers must name modules, each once; got \[\]\. Pass"),
        (["late", "late"], r"layers must name modules, each once; got \['late', 'late'\]\. Pass"),
    ],
)
def test_refusals(layers, text):
    task, x = odd()
    with pytest.raises(ConfigError, match="activations_information: .*" + text):
        layers_of(task, layers, x)


def test_a_path_near_another_is_named():
    task = Task(nn.Sequential(nn.Linear(2, 2)).eval(), loss="mse")
    with pytest.raises(ConfigError, match=r"layers must be one of '0'; got 'conv1'\. Choose one of these\."):
        layers_of(task, ["conv1"], torch.ones(1, 2))


@pytest.mark.parametrize("count", [0, 4, -1, 2.0, True])
def test_rows_must_fit_the_layer(count):
    task, x = odd()
    with pytest.raises(ConfigError, match=r"rows must be a whole number in 1\.\.3, the width of 'early'; got"):
        rows_of(layers_of(task, "early", x), count, 0)


def test_rows_of_a_layer_that_is_not_asked_for():
    task, x = odd()
    with pytest.raises(ConfigError, match=r"rows must be one of 'early'; got 'late'"):
        rows_of(layers_of(task, "early", x), {"late": 2}, 0)


def test_rows_are_those_of_the_seed():
    task, x = odd()
    found = layers_of(task, ["early", "late"], x)
    drawn = rows_of(found, {"early": 2}, 1)
    assert drawn["late"] is None and torch.equal(drawn["early"], rows_of(found, 2, 1)["early"])
    seen = {tuple(rows_of(found, {"early": 2}, seed)["early"].tolist()) for seed in range(20)}
    assert seen == {(0, 1), (0, 2), (1, 2)}


def test_outputs_are_the_layer_s(rng):
    task, _ = odd()
    x = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    want = task.model.early(x)
    assert torch.equal(Reading(task, "early", None).task(task).outputs(x), want)
    assert torch.equal(Reading(task, "early", torch.tensor([0, 2])).task(task).outputs(x), want[:, [0, 2]])


def test_a_forward_of_the_task_s_own_is_used(rng):
    model = nn.ModuleDict({"net": nn.Linear(3, 2)}).double().eval()
    task = Task(model, loss="mse", forward=lambda model, x: model["net"](2 * x))
    x = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    assert torch.equal(Reading(task, "net", None).task(task).outputs(x), model["net"](2 * x))


def test_input_jacobian(rng):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    x = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=rng).requires_grad_()
    torch.testing.assert_close(input_jacobian(model(x), x), jacobians(model, x.detach())[1], rtol=1e-12, atol=1e-14)
    assert not input_jacobian(torch.ones(4, 2, dtype=torch.float64), x).any()
