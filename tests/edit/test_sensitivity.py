"""Traces and norms layer by layer, against autograd."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import edit
from infotorch.blocks import fisher
from infotorch.errors import ConfigError, NotSupported
from infotorch.task import Task
from tests.edit import problems
from tests.edit.problems import classified


def test_norms_and_thresholds_are_those_of_autograd():
    task, x, y = classified()
    found = edit.sensitivity(task, (x, y), quantiles=(0.0, 0.5, 1.0))
    grads = []
    for n in range(len(x)):
        loss = nn.functional.cross_entropy(task.model(x[n : n + 1]), y[n : n + 1])
        grads.append(torch.autograd.grad(loss, list(task.model.parameters())))
    for layer, place in (("0", 0), ("2", 2)):
        want = torch.stack([(g[place].square().sum() + g[place + 1].square().sum()).sqrt() for g in grads])
        torch.testing.assert_close(found.norms[layer], want)
        torch.testing.assert_close(found.thresholds[layer], want.quantile(torch.tensor([0.0, 0.5, 1.0]).double()))
    whole = torch.stack([torch.cat([p.flatten() for p in g]).norm() for g in grads])
    torch.testing.assert_close(found.norm, whole)
    assert float(found.threshold[2]) == pytest.approx(float(whole.max())) and found.quantiles == (0.0, 0.5, 1.0)
    p = task.model(x).softmax(1)
    at_logits = (p - nn.functional.one_hot(y, 3)).norm(dim=1)
    torch.testing.assert_close(found.output_norms["2"], at_logits.detach())


def test_traces_are_those_of_the_diagonal():
    task, x, y = classified()
    diagonal = fisher(task, (x, y), structure="diagonal").values
    found = edit.sensitivity(task, (x, y)).trace
    for layer in ("0", "2"):
        want = float(diagonal[f"{layer}.weight"].sum() + diagonal[f"{layer}.bias"].sum())
        assert found[layer] == pytest.approx(want, rel=1e-12)


def test_convolution_norm_layers_and_frozen_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3))
    model = model.double().eval()
    model[3].weight.requires_grad_(False)
    task = Task(model)
    x, y = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    found = edit.sensitivity(task, (x, y))
    diagonal = fisher(task, (x, y), structure="diagonal").values
    assert list(found.trace) == ["0", "1", "3"] and list(found.output_norms) == ["0"]
    assert found.trace["1"] == pytest.approx(float(diagonal["1.weight"].sum() + diagonal["1.bias"].sum()))
    assert found.trace["3"] == pytest.approx(float(diagonal["3.bias"].sum()))
    grads = torch.autograd.grad(nn.functional.cross_entropy(model(x[:1]), y[:1]), [model[0].weight, model[0].bias])
    assert float(found.norms["0"][0]) == pytest.approx(float(torch.cat([g.flatten() for g in grads]).norm()))


def test_a_loader_gives_what_its_batches_give(monkeypatch):
    task, x, y = classified()
    one = edit.sensitivity(task, (x, y))
    loader = DataLoader(TensorDataset(x, y), batch_size=6)
    monkeypatch.setattr("infotorch.edit.passes.BATCH_SIZE", 7)
    for other in (edit.sensitivity(task, loader), edit.sensitivity(task, (x, y))):
        torch.testing.assert_close(one.norms, other.norms)
        assert one.trace == pytest.approx(other.trace)


def test_bad_input_is_refused():
    task, x, y = classified()
    for quantiles in ((), (1.5,)):
        with pytest.raises(ConfigError, match=r"quantiles must be in \[0, 1\]"):
            edit.sensitivity(task, (x, y), quantiles=quantiles)
    with pytest.raises(NotSupported, match="output Hessian must be known"):
        edit.sensitivity(Task(problems.net(), loss=lambda f, y: f.sum(1)), (x, y))


def test_it_prints_thresholds_and_traces_alone():
    task, x, y = classified()
    found = edit.sensitivity(task, (x, y), quantiles=(0.5, 0.9))
    lines = repr(found).splitlines()
    assert lines[0].startswith(f"sensitivity over N = {len(x)} (diagnostic): norms of gradients at 50 %, 90 %")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["0", "2", "all"] and max(map(len, lines)) < 100
    assert f"{sum(found.trace.values()):.4g}" in lines[-1] and found.kind == "diagnostic"
