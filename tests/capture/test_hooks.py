"""The model is left as it was, whatever happens in between."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from infotorch.capture import capture
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact, gradients


class Faulty(nn.Module):
    """Raises in the forward, after its first layer."""

    def __init__(self, error=None):
        super().__init__()
        self.fc, self.out, self.error = nn.Linear(3, 3), nn.Linear(3, 2), error

    def forward(self, x):
        h = self.fc(x)
        if self.error is not None:
            raise self.error
        return self.out(h)


def state(model):
    """All that a capture could have touched."""
    return [
        (
            path,
            module.training,
            dict(module._forward_hooks),
            dict(module._forward_pre_hooks),
            dict(module._forward_hooks_with_kwargs),
            dict(module._backward_hooks),
            [
                (name, id(p), p.requires_grad, id(p.grad), p._version)
                for name, p in module._parameters.items()
                if p is not None
            ],
            [(name, id(b), b._version) for name, b in module._buffers.items()],
            sorted(vars(module)),
        )
        for path, module in model.named_modules()
    ]


@pytest.mark.parametrize("error", [None, ValueError("mine"), KeyboardInterrupt(), RuntimeError("torch's")])
@pytest.mark.parametrize("check", [True, False])
def test_model_is_left_as_it_was(error, check):
    model = Faulty(error).eval()
    model.fc.register_forward_hook(lambda module, args, output: None)
    model.fc.bias.grad = torch.ones(3)
    before = state(model)
    task, batch = Task(model, loss="mse"), (torch.ones(4, 3), torch.ones(4, 2))
    if error is None:
        capture(task, batch, check=check, verify=True)
        capture(task, batch, seeds="logits", check=check)
    else:
        with pytest.raises(type(error)):
            capture(task, batch, check=check)
    assert state(model) == before
    assert torch.equal(model.fc.bias.grad, torch.ones(3)) and model.fc.weight.grad is None


@pytest.mark.parametrize("fault", ["loss", "backward"])
def test_model_is_left_as_it_was_after_an_error_outside_of_the_forward(fault):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise KeyboardInterrupt

    def loss(outputs, y):
        if fault == "loss":
            raise ValueError("mine")
        return Broken.apply(outputs).sum(1)

    model = Faulty().eval()
    before = state(model)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        capture(Task(model, loss=loss), (torch.ones(4, 3), torch.ones(4)))
    assert state(model) == before


def test_gradient_is_that_before_an_in_place_activation(rng):
    """With output tensors in place of edges, the gradient would be that behind the ReLU."""
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.LeakyReLU(inplace=True)).double()
    assert_exact(model, torch.randn(4, 5, dtype=torch.float64, generator=rng))


def test_a_callers_hook_that_changes_the_output_is_part_of_the_model(rng):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double()
    model[0].register_forward_hook(lambda module, args, output: output.square())
    assert_exact(model, torch.randn(4, 5, dtype=torch.float64, generator=rng))


def test_overwritten_input_is_refused():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            h = self.first(x)
            outputs = self.second(h)
            h.mul_(2)
            return outputs

    task = Task(Overwrites().eval(), loss="mse")
    with pytest.raises(
        CaptureError, match="the input of 'second' must stay as the layer saw it; got an in-place change"
    ):
        capture(task, (torch.ones(4, 3), torch.ones(4, 2)))


def test_overwritten_input_of_a_bias_alone_does_no_harm():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            h = x * 1
            outputs = self.fc(h)
            h.zero_()
            return outputs

    model = Overwrites().eval()
    model.fc.weight.requires_grad_(False)
    cap = capture(Task(model, loss="mse"), (torch.ones(4, 3), torch.zeros(4, 2)))
    torch.testing.assert_close(gradients(cap)["fc.bias"], cap.outputs)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

    def block(self, x):
        return self.second(self.first(x).tanh())

    def forward(self, x):
        x = x.detach().requires_grad_() if self.reentrant else x
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


def test_calls_repeated_by_a_checkpoint_in_the_backward_are_not_counted():
    torch.manual_seed(0)
    model, x, y = Checkpointed(False).eval(), torch.randn(4, 3), torch.randn(4, 2)
    plain = nn.Sequential(model.first, nn.Tanh(), model.second).eval()
    got, truth = (gradients(capture(Task(m, loss="mse"), (x, y), verify=True)) for m in (model, plain))
    for g, t in zip(got.values(), truth.values(), strict=True):
        torch.testing.assert_close(g, t)


def test_reentrant_checkpoint_is_refused():
    with pytest.raises(CaptureError, match=r"got a reentrant checkpoint.*use_reentrant=False"):
        capture(Task(Checkpointed(True).eval(), loss="mse"), (torch.ones(4, 3), torch.ones(4, 2)))


@pytest.mark.parametrize("whole", [True, False])
def test_code_that_was_compiled_before_runs_eagerly_under_the_hooks(whole, rng):
    """Compiled without the hooks, it would call no layer that anyone hears."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()
    x = torch.randn(5, 3, dtype=torch.float64, generator=rng)
    want = gradients(capture(Task(model, loss="mse"), x, seeds="logits"))
    fast = torch.compile(model, backend="eager") if whole else torch.compile(lambda m, x: m(x), backend="eager")
    for n in (1, 2, 5):
        (fast(x[:n]) if whole else fast(model, x[:n])).sum()
    task = Task(fast, loss="mse") if whole else Task(model, loss="mse", forward=fast)
    got = gradients(capture(task, x, seeds="logits"))
    assert [name.removeprefix("_orig_mod.") for name in got] == list(want)
    for (name, rows), truth in zip(got.items(), want.values(), strict=True):
        torch.testing.assert_close(rows, truth, rtol=1e-12, atol=0, msg=name)
