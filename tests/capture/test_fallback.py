"""Parameters that no layer covers, by torch.func: explicit, named, exact."""

import re

import pytest
import torch
from torch import nn

from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError
from infotorch.task import Task
from tests.capture.agreement import assert_close, gradients
from tests.capture.test_hooks import state


class Bare(nn.Module):
    """A token, a scale and a lookup that no input of one sample reaches."""

    def __init__(self):
        super().__init__()
        self.token, self.scale = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.rand(4))
        self.rnn, self.bias = nn.LSTM(4, 4, batch_first=True), nn.Embedding(3, 4)
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.head.weight = nn.Parameter(torch.randn(2, 4))

    def forward(self, x):  # [N, 2, 4]
        h = torch.cat([self.token.expand(len(x), -1, -1), self.fc(x)], 1) * self.scale
        h = self.rnn(h)[0] + self.bias(torch.arange(3)).flip(0)
        return self.head(h.tanh()).sum(1)


@pytest.fixture
def model(rng):
    model = Bare().double().eval()
    for p in model.parameters():
        p.data.normal_(generator=rng)
    return model


@pytest.fixture
def batch(rng):
    return torch.randn(5, 2, 4, dtype=torch.float64, generator=rng), torch.randn(
        5, 2, dtype=torch.float64, generator=rng
    )


FALLEN = ("token", "scale", "bias.weight")


@pytest.mark.parametrize("memory_limit", [None, 30_000])
def test_fallback_is_exact_and_leaves_the_model_as_it_was(model, batch, memory_limit):
    x, y = batch
    task, before = Task(model, loss="mse"), state(model)
    cap = capture(task, batch, fallback="func", verify=True, memory_limit=memory_limit)
    rows = gradients(capture(task, x, seeds="logits", fallback="func", verify=True))
    assert cap.plan.fallback == FALLEN and f"by torch.func: {', '.join(FALLEN)}" in str(cap.plan)
    assert state(model) == before and {*gradients(cap)} == {*cap.names}
    for name in FALLEN:
        assert cap.pairs[name].a.shape == (5, 1, 1) and cap.pairs[name].b.shape[:2] == (5, 1)
    for n in range(5):
        outputs = model(x[n : n + 1])
        for name, p in model.named_parameters():
            jacobian = torch.stack([torch.autograd.grad(o, p, retain_graph=True)[0] for o in outputs[0]])
            assert_close(rows[name][n], jacobian, f"Jacobian of {name}")
            assert_close(gradients(cap)[name][n], torch.einsum("c,c...->...", outputs[0] - y[n], jacobian), name)


def test_it_is_never_taken_on_its_own(model, batch):
    with pytest.raises(CaptureError, match=re.escape('or pass fallback="func" to take per-sample gradients')):
        capture(Task(model, loss="mse"), batch)
    covered = Task(model, loss="mse", params=["fc.*", "head.*", "rnn.*"])
    assert capture(covered, batch, fallback="func").plan.fallback == ()


def test_tied_parameter_falls_back_as_a_whole(batch, rng):
    """One use in a layer and one outside of it: the sum of both is what is differentiated."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4, bias=False)
            self.alias = self.fc.weight

        def forward(self, x):
            return (self.fc(x) @ self.alias).tanh().sum(1)

    model = Half().double().eval()
    names = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    x = batch[0]
    got = gradients(capture(Task(model, loss="mse"), x, seeds="logits", fallback="func", verify=True))
    assert {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)} == names
    for n in range(5):
        want = torch.autograd.grad(model(x[n : n + 1])[0, 1], model.alias)[0]
        assert_close(next(iter(got.values()))[n, 1], want, "tied")


def test_penalty_in_the_loss_is_refused(model, batch):
    task = Task(model, loss=lambda outputs, y: (outputs - y).square().sum(1) + model.scale.square().sum())
    with pytest.raises(CaptureError, match="must depend on parameters through the outputs; got one that uses 'token'"):
        capture(task, batch, fallback="func")


def test_one_sample_above_the_memory_limit_is_refused(batch):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(512, 256))

        def forward(self, x):
            return x.sum((1, 2))[:, None] * self.table.sum()

    task = Task(Wide().eval(), loss="mse")
    with pytest.raises(
        ConfigError, match=r"gradients of one sample \(needs 1 MiB\); got 1024 bytes. Raise memory_limit"
    ):
        capture(task, batch[0].float(), seeds="logits", fallback="func", memory_limit=2**10)


def test_forward_that_torch_func_cannot_follow_is_refused(batch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return (x * self.scale if x.sum() > 0 else x * self.scale * 2).sum(1)

    task = Task(Branches().double().eval(), loss="mse")
    with pytest.raises(CaptureError, match=r"fallback must follow the forward under torch\.func; got: vmap"):
        capture(task, batch[0], seeds="logits", fallback="func")
