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


def wrapped(kind, rng):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()
    return model, kind(model).eval()


def assert_wrapped(kind, name, rng):
    model, wrapper = wrapped(kind, rng)
    x = torch.randn(5, 3, dtype=torch.float64, generator=rng)
    cap = capture(Task(wrapper, loss="mse"), x, seeds="logits", verify=True)
    want = gradients(capture(Task(model, loss="mse"), x, seeds="logits"))
    for name_, rows in gradients(cap).items():
        assert torch.equal(rows, want[name_.removeprefix("module.")])
    assert cap.plan.allowed == (f"{name}, its module used: the model",) and "forward" not in vars(wrapper)
    assert all(p.grad is None for p in wrapper.parameters())


def test_data_parallel_is_its_module(rng):
    assert_wrapped(nn.DataParallel, "DataParallel", rng)


def test_distributed_data_parallel_hears_nothing(rng, tmp_path):
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert_wrapped(nn.parallel.DistributedDataParallel, "DistributedDataParallel", rng)
    finally:
        distributed.destroy_process_group()


def test_what_is_allowed_is_named():
    x = torch.ones(4, 3)
    plain = capture(Task(nn.Linear(3, 2).eval(), loss="mse"), x, seeds="logits")
    assert plain.plan.allowed == () and str(plain.plan) == "every layer by its own rule"
    checkpointed = capture(Task(Checkpointed(False).eval(), loss="mse"), x, seeds="logits")
    assert str(checkpointed.plan) == "checkpointed, run again in the backward"
    compiled = nn.Sequential(torch.compile(nn.Linear(3, 2), backend="eager")).eval()
    assert capture(Task(compiled, loss="mse"), x, seeds="logits").plan.allowed == ("compiled, run eagerly: 0",)


class Fails(nn.Module):
    """Everything that is replaced, hooked or expanded for a forward that ends badly."""

    def __init__(self):
        super().__init__()
        self.attn, self.rnn = nn.MultiheadAttention(4, 2, batch_first=True), nn.GRU(4, 4, batch_first=True)
        self.pos, self.error = nn.Embedding(3, 4), None

    def forward(self, x):
        h = self.rnn(self.attn(x, x, x)[0] + self.pos(torch.arange(3)))[0].sum(1)
        if self.error is not None:
            raise self.error
        return h


@pytest.mark.parametrize("error", [None, ValueError("mine"), KeyboardInterrupt()], ids=str)
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("fallback", [None, "func"])
def test_rewritten_and_expanded_layers_are_left_as_they_were(error, hooked, fallback):
    model = Fails().eval()
    task, batch = Task(model, loss="mse"), (torch.ones(4, 3, 4), torch.ones(4, 4))
    capture(task, batch)
    if hooked and error is not None:

        def fails(*_):
            raise error

        model.pos.register_forward_hook(fails)
    else:
        model.error = error
    before, grad_mode = state(model), torch.is_grad_enabled()
    if error is None:
        capture(task, batch, verify=True, fallback=fallback)
    else:
        with pytest.raises(type(error)):
            capture(task, batch, fallback=fallback)
    assert state(model) == before and torch.is_grad_enabled() == grad_mode
