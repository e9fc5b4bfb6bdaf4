"""Captured pairs against gradients taken one sample at a time.

The oracles get a copy: torch.func.functional_call leaves tensors in place of a module's parameters where the module has
two names.
"""

import copy

import torch
from torch import Tensor, nn

from infotorch.capture import Capture, capture
from infotorch.task import Task
from tests import oracles

RTOL = 1e-10


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Half the squared norm of outputs - y, for one sample."""
    return 0.5 * (outputs - y).square().sum()


def gradients(cap: Capture) -> dict[str, Tensor]:
    """{parameter: [N, *shape]}, [N, K, *shape] for seeds, written out of the pairs."""
    parts = {}
    for pair in cap.pairs.values():
        parts |= pair.split(torch.stack([pair.grad(n) for n in range(cap.N)]))
    return parts


def assert_close(got: Tensor, truth: Tensor, what: str) -> None:
    assert got.shape == truth.shape, f"{what}: {tuple(got.shape)} is not {tuple(truth.shape)}"
    error, size = (got - truth).norm(), truth.norm()
    assert error <= RTOL * size + 1e-14, f"{what}: relative error {error / size:.1e}"


def assert_exact(model: nn.Module, x: Tensor, params: list[str] | None = None) -> Capture:
    """Gradients of a loss and of every output equal the oracles' for each parameter; the model is float64."""
    model.eval()
    task = Task(model, loss="mse", params=params)
    y = torch.randn(task.outputs(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cap = capture(task, (x, y), verify=True)
    truth = oracles.per_sample_grads(copy.deepcopy(model), squared_error, x, y)
    got = gradients(cap)
    assert list(cap.shapes) == [name for name in truth if name in task.parameters()]
    for name in cap.shapes:
        if name in cap.unused:
            assert name not in got and not truth[name].any()
        else:
            assert_close(got[name], truth[name], name)
    assert_outputs_exact(model, x, task)
    return cap


def assert_outputs_exact(model: nn.Module, x: Tensor, task: Task) -> None:
    """Gradients of every output in turn equal the rows of the Jacobian."""
    cap = capture(task, x, seeds="logits", verify=True)
    J = oracles.jacobian(copy.deepcopy(model), x)  # [N, C, P] over all that require grad
    got, start = gradients(cap), 0
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        rows = J[:, :, start : start + p.numel()].unflatten(2, p.shape)
        start += p.numel()
        if name in got:
            assert_close(got[name], rows, f"Jacobian of {name}")


def assert_loops(model: nn.Module, x: Tensor, params: list[str] | None = None, alone: bool = True) -> Capture:
    """The same against one backward an output and sample, for what vmap cannot follow; only of what is selected.

    ``alone`` is False where parts of the model are float32 whatever its weights are, and round by the batch.
    """
    model.eval()
    task = Task(model, loss="mse", params=params)
    selected = task.parameters()
    cap = capture(task, x, seeds="logits", verify=True)
    got = gradients(cap)
    truth = {name: torch.zeros(len(x), cap.C, *p.shape, dtype=x.dtype) for name, p in selected.items()}
    if not x.is_floating_point():
        truth = {name: t.double() for name, t in truth.items()}
    y = torch.randn(cap.outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loss = gradients(capture(task, (x, y), verify=True))
    whole, want = task.outputs(x), {name: torch.zeros_like(t[:, 0]) for name, t in truth.items()}

    def rows(total: Tensor) -> zip:
        params = list(selected.values())
        return zip(
            selected,
            torch.autograd.grad(total, params, retain_graph=True, materialize_grads=True, allow_unused=True),
            strict=True,
        )

    for n in range(len(x)):
        outputs = task.outputs(x[n : n + 1]).flatten() if alone else whole[n].flatten()
        for c in range(cap.C):
            for name, row in rows(outputs[c]):
                truth[name][n, c] = row
        for name, row in rows(squared_error(outputs, y[n].flatten())):
            want[name][n] = row
    for name in selected:
        if name in cap.unused:
            assert name not in got and not truth[name].any()
        else:
            assert_close(got[name], truth[name], f"Jacobian of {name}")
            assert_close(loss[name], want[name], name)
    return cap
