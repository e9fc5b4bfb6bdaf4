import copy

import pytest
import torch
from torch import nn

from infotorch.blocks import jvp
from infotorch.blocks.linearize import add_pulled_back, has_padding, output_tangents
from infotorch.capture import capture
from infotorch.errors import NotSupported
from infotorch.task import Task
from tests.blocks.cases import MODELS, case
from tests.laws import assert_same


def tangents(made, J, rng):
    shapes = {name: p.shape for name, p in made.task.parameters().items()}
    return {name: torch.randn(J, *shape, dtype=torch.float64, generator=rng) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "sequence"])
@pytest.mark.parametrize("J", [1, 3])
def test_outputs_move_as_their_jacobian_says(name, J, rng):
    made = case(name)
    V = tangents(made, J, rng)
    flat = torch.cat([v.flatten(1) for v in V.values()], 1)
    assert_same(output_tangents(made.task, made.x, V), made.J @ flat.mT)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_pulled_back_is_added_in_float64(name, rng):
    made, total = case(name), {}
    N, C, _ = made.J.shape
    u = torch.randn(2, N, C, dtype=torch.float64, generator=rng)
    for each in u:
        outputs = made.task.outputs(made.x)
        add_pulled_back(total, made.task, outputs, each.view_as(outputs))
    assert list(total) == list(made.task.shapes) and not any(t.requires_grad for t in total.values())
    flat = torch.cat([t.flatten() for t in total.values()])
    assert_same(flat, u.sum(0).flatten() @ made.J.flatten(0, 1))


def test_what_is_unused_or_spread_over_outputs_is_pulled_back():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift, self.spare = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x + self.shift.sum()  # whose gradient comes back as one number under two places

    task, total = Task(Shifted().eval(), loss="mse"), {}
    for _ in range(2):
        add_pulled_back(total, task, task.outputs(torch.ones(5, 1)).sum())
    assert {name: t.tolist() for name, t in total.items()} == {"shift": [10.0, 10.0], "spare": [0.0, 0.0, 0.0]}
    assert all(t.dtype == torch.float64 for t in total.values())


def test_the_model_is_as_before_also_after_an_error(rng):
    made = case("partly")
    model = copy.deepcopy(made.task.model)
    before = [(module, key, p) for module in model.modules() for key, p in module._parameters.items()]

    def broken(model, x):
        raise RuntimeError("no such luck")

    output_tangents(Task(model, loss="mse"), made.x, tangents(made, 2, rng))
    with pytest.raises(RuntimeError, match="no such luck"):
        output_tangents(Task(model, loss="mse", forward=broken), made.x, tangents(made, 2, rng))
    assert all(module._parameters[key] is p for module, key, p in before)
    assert all(p.grad is None for p in model.parameters())


def test_parameters_under_two_names_move_together(rng):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(3, 3), nn.Linear(3, 3)
            self.down.weight = self.up.weight
            self.again = self.up

        def forward(self, x):
            return self.again(self.down(self.up(x).tanh()).tanh())

    torch.manual_seed(0)
    task = Task(Tied().double().eval(), loss="mse")
    x = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    V = {name: torch.randn(2, *p.shape, dtype=torch.float64, generator=rng) for name, p in task.parameters().items()}
    step = 1e-6
    for j in range(2):
        moved = []
        for sign in (1, -1):
            model = copy.deepcopy(task.model)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p += sign * step * V[name][j]
            moved.append(model(x))
        truth = (moved[0] - moved[1]) / (2 * step)
        assert (output_tangents(task, x, V)[..., j] - truth).norm() < 1e-8 * truth.norm()


@pytest.mark.parametrize("J", [1, 3])
def test_attention_has_tangents(J, rng):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(4, 12)

        def forward(self, x):
            q, k, v = self.qkv(x)[:, None].chunk(3, -1)
            return nn.functional.scaled_dot_product_attention(q, k, v).mean((1, 2))

    torch.manual_seed(0)
    task = Task(Attention().double().eval(), loss="mse")
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=rng)
    V = {name: torch.randn(J, *p.shape, dtype=torch.float64, generator=rng) for name, p in task.parameters().items()}
    with capture(task, x, seeds="logits") as cap:
        assert_same(output_tangents(task, x, V), jvp(cap, V))


def test_padding_is_found():
    assert has_padding(case("sequence").task) and not has_padding(case("ids").task)
    model = case("sequence").task.model
    assert not has_padding(Task(model, loss="mse", params=["fc.*"]))


def test_what_has_no_tangent_is_refused_with_the_way_out(rng):
    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, grad):
            return grad

    made = case("mlp")
    task = Task(made.task.model, loss="mse", forward=lambda model, x: Rounded.apply(model(x)))
    V = {name: torch.ones_like(p) for name, p in task.parameters().items()}
    with pytest.raises(NotSupported, match=r"have a forward-mode derivative; got .* Pass capture\(task, x, seeds="):
        jvp(task, made.x, V, seeds="logits")


def test_a_forward_that_keeps_its_last_output_keeps_nothing_of_the_transform(rng):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.last = nn.Linear(3, 2), None

        def forward(self, x):
            self.last = self.fc(x)
            return self.last.tanh()

    model = Keeping().eval()
    for J in (1, 3):
        V = {name: torch.randn(J, *p.shape, generator=rng) for name, p in model.named_parameters()}
        output_tangents(Task(model, loss="mse"), torch.ones(4, 3), V)
        assert model.last is None


@pytest.mark.parametrize("J", [1, 3])
def test_encoder_layers_that_torch_would_fuse_have_tangents(J, rng):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(12, 2)).double().eval()
    task = Task(model, loss="mse")
    x = torch.randn(5, 3, 4, dtype=torch.float64, generator=rng)
    V = {name: torch.randn(J, *p.shape, dtype=torch.float64, generator=rng) for name, p in task.parameters().items()}
    assert torch.backends.mha.get_fastpath_enabled()
    with capture(task, x, seeds="logits") as cap:
        assert_same(jvp(task, x, V, seeds="logits"), jvp(cap, V))
    assert torch.backends.mha.get_fastpath_enabled()
