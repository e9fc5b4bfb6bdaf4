"""Pairs that are handed over during the backward are those that a capture holds, and are let go of."""

import gc
import importlib
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from infotorch.capture import capture
from infotorch.capture.run import Options, captured
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.blocks.cases import MODELS, case
from tests.capture.agreement import assert_close, assert_loops, gradients


@pytest.fixture
def handing_over(monkeypatch):
    """However small pairs are, none is held."""
    monkeypatch.setattr(importlib.import_module("infotorch.capture.run"), "HELD_BYTES", -1)


def sides(pair):
    return pair.name, dict(pair.shapes), pair.geometry, pair.groups, pair.transposed, pair.a.clone(), pair.b.clone()


def assert_same_pairs(task, batch, seeds=None):
    cap, found = captured(task, batch, Options(seeds=seeds), sides)
    assert not cap.pairs and found
    held = capture(task, batch, seeds=seeds)
    assert cap.unused == held.unused and torch.equal(cap.outputs, held.outputs)
    for got, pair in zip(found, held.pairs.values(), strict=True):
        *known, a, b = sides(pair)
        assert list(got[:-2]) == known
        assert torch.equal(got[-2], a) and torch.equal(got[-1], b)


@pytest.mark.parametrize("name", MODELS)
def test_they_are_those_of_a_capture_to_the_bit(handing_over, name):
    made = case(name)
    assert_same_pairs(made.task, made.batch)
    assert_same_pairs(made.task, made.x, made.y.expand_as(made.task.outputs(made.x))[None])


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = nn.Linear(5, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        h = checkpoint(self.inner, self.first(x).tanh(), use_reentrant=False)
        return self.lstm(h)[0].sum(1)


class Heads(nn.Module):
    """Two branches that end in different layers."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.left(x[:, :3]).tanh() + self.right(x[:, 3:])).tanh()


@pytest.mark.parametrize("model, sizes", [(Checkpointed, (6, 7, 5)), (Heads, (6, 5))])
def test_graphs_of_several_ends_and_of_recomputed_parts(handing_over, rng, model, sizes):
    net = model().double().eval()
    assert_same_pairs(
        Task(net, loss="mse"),
        (
            torch.randn(sizes, dtype=torch.float64, generator=rng),
            torch.randn(6, 3, dtype=torch.float64, generator=rng),
        ),
    )


def test_no_pair_outlives_its_turn(handing_over, rng):
    """Of a chain of layers, inputs and gradients of all but the first are gone when the next pair comes."""
    model = nn.Sequential(*(layer for _ in range(5) for layer in (nn.Linear(4, 4), nn.Tanh()))).double().eval()
    batch = torch.randn(6, 4, dtype=torch.float64, generator=rng), torch.zeros(6, 4, dtype=torch.float64)
    seen, alive = [], []

    def each(pair):
        alive.append(sum(ref() is not None for ref in seen))
        seen.extend(weakref.ref(side) for side in (pair.a, pair.b))

    captured(Task(model, loss="mse"), batch, Options(), each)
    assert len(alive) == 5 and not any(alive)


def test_an_error_on_the_way_leaves_nothing_behind(handing_over, rng):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval()
    batch = torch.randn(6, 4, generator=rng), torch.zeros(6, 4)
    inputs = []

    def each(pair):
        inputs.append(weakref.ref(pair.a))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captured(Task(model, loss="mse"), batch, Options(), each)
    gc.collect()
    assert len(inputs) == 1 and inputs[0]() is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert_same_pairs(Task(model, loss="mse"), batch)


class Rebuilds(torch.autograd.Function):
    """Overwrites in its backward what the layer before it has read, as reversible networks do."""

    @staticmethod
    def forward(ctx, x, h):
        ctx.x = x
        return h.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.x.zero_()
        return None, grad


def test_an_input_that_the_backward_overwrites_is_refused(handing_over):
    class Reversible(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            x = x.clone()
            return self.second(Rebuilds.apply(x, self.first(x)))

    with pytest.raises(CaptureError, match="the input of 'first' must stay as the layer saw it"):
        captured(Task(Reversible().eval(), loss="mse"), (torch.ones(4, 3), torch.zeros(4, 3)), Options(), sides)


class Blocks(torch.autograd.Function):
    """Lets no gradient through to its second argument."""

    @staticmethod
    def forward(ctx, x, h):
        return x + h

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Blocked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = self.first(x)
        return Blocks.apply(self.left(x), self.right(x))


class Hooked(nn.Module):
    """A caller's hook changes the gradient on its way."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.middle(self.first(x).tanh())
        if h.requires_grad:
            h.register_hook(lambda grad: 3 * grad.clamp(-0.1, 0.1))
        return self.last(h)


@pytest.mark.parametrize("model", [Blocked, Hooked])
def test_gradients_are_those_that_a_backward_brings(handing_over, rng, model):
    """Also where it brings none, and where a hook changes them; held or not."""
    net = model().double().eval()
    task = Task(net, loss="mse")
    x = torch.randn(6, 3, dtype=torch.float64, generator=rng)
    y = torch.randn(6, net(x).shape[1], dtype=torch.float64, generator=rng)
    assert_same_pairs(task, (x, y))
    got = gradients(capture(task, (x, y)))
    for n in range(6):
        net.zero_grad()
        task.losses(net(x[n : n + 1]), y[n : n + 1]).sum().backward()
        for name, p in net.named_parameters():
            assert_close(got[name][n], torch.zeros_like(p) if p.grad is None else p.grad, name)


def test_a_hook_that_differentiates_the_same_graph_is_told(handing_over, rng):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            q = self.middle(self.first(x).tanh()).tanh()
            h = self.last(q)
            total = q.sum()
            if h.requires_grad:
                h.register_hook(lambda grad: torch.autograd.grad(total, self.first.weight, retain_graph=True) and grad)
            return h

    task = Task(Twice().eval(), loss="mse")
    with pytest.raises(CaptureError, match="one backward must come to every layer once; got a layer twice"):
        captured(task, (torch.randn(4, 3, generator=rng), torch.zeros(4, 3)), Options(), sides)


@pytest.mark.parametrize("layer", ["lstm", "gru", "attention", "encoder", "positions"])
def test_layers_that_are_recomputed_compute_as_they_did(handing_over, rng, layer):
    class Recomputed(nn.Module):
        def __init__(self):
            super().__init__()
            kinds = {
                "lstm": lambda: nn.LSTM(4, 4, batch_first=True),
                "gru": lambda: nn.GRU(4, 4, batch_first=True),
                "attention": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
                "encoder": lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True),
                "positions": lambda: nn.Embedding(5, 4),
            }
            self.first, self.inner, self.head = nn.Linear(3, 4), kinds[layer](), nn.Linear(4, 2)

        def block(self, h):
            if layer == "attention":
                return self.inner(h, h, h)[0]
            if layer == "positions":
                return (h + self.inner(torch.arange(h.shape[1]))).tanh()
            out = self.inner(h)
            return out[0] if isinstance(out, tuple) else out

        def forward(self, x):
            h = checkpoint(self.block, self.first(x), use_reentrant=False)
            return self.head(h).sum(1)

    net = Recomputed().double().eval()
    x = torch.randn(6, 5, 3, dtype=torch.float64, generator=rng)
    y = torch.randn(6, 2, dtype=torch.float64, generator=rng)
    capture(Task(net, loss="mse"), (x, y), verify=True)
    assert_same_pairs(Task(net, loss="mse"), (x, y))
    assert_loops(net, x)


def test_nothing_is_handed_over_of_what_no_output_depends_on(handing_over):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    task = Task(Idle().eval(), loss="mse", params=["idle.*"])
    cap, found = captured(task, (torch.ones(4, 3), torch.zeros(4, 2)), Options(), sides)
    assert not found and cap.unused == ("idle.weight", "idle.bias")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_several_seeds_keep_the_order_of_axes(layout, rng):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 2)).double().eval()
    x = torch.randn(6, 3, 5, 5, dtype=torch.float64, generator=rng)
    task = Task(net.to(memory_format=layout))
    with capture(task, x.to(memory_format=layout), seeds="logits") as several:
        b = several.pairs["0"].b
        for k, seed in enumerate(torch.eye(2, dtype=torch.float64)):
            with capture(task, x.to(memory_format=layout), seeds=seed.expand(1, 6, 2)) as alone:
                each = alone.pairs["0"].b
                assert_close(b[:, k], each[:, 0], "0")
                assert b[:, k].stride()[1:] == each[:, 0].stride()[1:]


def test_several_seeds_of_no_positions():
    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            return self.linear(x).sum(1)

    with capture(Task(Summed().double().eval()), torch.zeros(5, 0, 3, dtype=torch.float64), seeds="logits") as cap:
        (pair,) = cap.pairs.values()
        assert pair.b.numel() == 0 and len(pair.b) == 5
