"""Traces of the Fisher information, against the goldens' and against its matrix."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infotorch
from infotorch.blocks import fisher
from infotorch.capture import capture
from infotorch.errors import ConfigError, NotSupported, NumericsError
from infotorch.measures.fisher_trace import fisher_trace
from infotorch.task import Task
from tests.blocks.cases import Sequence
from tests.capture.test_seeds import GOLDEN, NETS, golden


def by_module(name, task):
    """The golden's traces of tensors, added by the module that the tensor is of."""
    with np.load(GOLDEN / f"curvature_{name}.npz") as file:
        traces = file["layer_trace"].tolist()
    found = {}
    for own, trace in zip(task.parameters(), traces, strict=True):
        path = own.rpartition(".")[0]
        found[path] = found.get(path, 0.0) + trace
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETS)
def test_goldens(name, dtype):
    task, x, _, arrays = golden(name)
    task = Task(copy.deepcopy(task.model).to(dtype), loss=task.loss)
    y = arrays["y"].to(dtype) if arrays["y"].is_floating_point() else arrays["y"]
    found = fisher_trace(task, (x.to(dtype) if x.is_floating_point() else x, y))
    rtol = 1e-10 if dtype == torch.float64 else 2e-4
    assert found.total == pytest.approx(float(arrays["fisher_trace"]), rel=rtol)
    torch.testing.assert_close(found.per_sample, arrays["fisher_trace_per_sample"], rtol=rtol, atol=0)
    layers = by_module(name, task)
    assert found.per_layer == pytest.approx(layers, rel=rtol) and list(found.per_layer) == list(layers)
    assert sum(found.per_layer.values()) == pytest.approx(found.total, rel=1e-12)


def test_a_loader_is_one_batch_and_memory_does_not_matter():
    task, x, _, arrays = golden("cnn_groups_ce")
    whole = fisher_trace(task, (x, arrays["y"]))
    loader = DataLoader(TensorDataset(x, arrays["y"]), batch_size=4)
    for found in (
        fisher_trace(task, loader),
        fisher_trace(task, (x, arrays["y"]), memory_limit=6000),
        fisher_trace(task, loader, memory_limit=6000),
    ):
        torch.testing.assert_close(found.per_sample, whole.per_sample, rtol=1e-12, atol=0)
        assert found.per_layer == pytest.approx(whole.per_layer, rel=1e-12)
        assert found.total == pytest.approx(whole.total, rel=1e-12)


def test_a_capture_and_its_labels():
    task, x, _, arrays = golden("mlp_tanh_ce")
    with capture(task, (x, arrays["y"]), seeds="fisher") as cap:
        assert fisher_trace(cap).total == pytest.approx(float(arrays["fisher_trace"]), rel=1e-12)
        with pytest.raises(ConfigError, match=r"^fisher_trace: labels must be what the Capture holds; got 'empirical'"):
            fisher_trace(cap, labels="empirical")


def test_labels_of_the_data_and_of_the_model():
    """Another matrix; and an unbiased estimate, within four standard errors over many draws."""
    task, x, _, arrays = golden("mlp_tanh_ce")
    empirical = fisher_trace(task, (x, arrays["y"]), labels="empirical")
    assert empirical.total == pytest.approx(float(arrays["empirical_fisher"].trace()), rel=1e-10)
    torch.testing.assert_close(empirical.per_sample, arrays["grads"].square().sum(1), rtol=1e-10, atol=0)
    drawn = torch.tensor(
        [fisher_trace(task, (x, arrays["y"]), labels=("mc", 1, seed)).total for seed in range(50)]
    ).double()
    assert abs(drawn.mean() - float(arrays["fisher_trace"])) <= 4 * drawn.std() / 50**0.5


@pytest.mark.filterwarnings("ignore")
def test_tied_parameters_add_before_they_are_squared(rng):
    task = Task(Sequence().double().eval(), loss="cross_entropy")
    batch = torch.randint(1, 7, (5, 4), generator=rng), torch.randint(0, 7, (5,), generator=rng)
    found = fisher_trace(task, batch)
    assert found.total == pytest.approx(fisher(task, batch).trace(), rel=1e-10)
    assert list(found.per_layer) == ["emb", "fc", "norm", "head"]  # the head's bias; its weight is the table's


def test_layers_without_curvature_are_there_with_zero():
    """Dead rectifiers, a module that is not used, one that is frozen."""
    model = nn.ModuleDict({"dead": nn.Linear(2, 3), "last": nn.Linear(3, 2), "unused": nn.Linear(2, 2)}).double()
    model["dead"].bias.data.fill_(-100)
    model["last"].weight.requires_grad_(False)
    task = Task(model.eval(), loss="mse", forward=lambda m, x: m["last"](m["dead"](x).relu()))
    found = fisher_trace(task, (torch.ones(4, 2).double(), torch.zeros(4, 2).double()))
    assert found.per_layer == {"dead": 0.0, "last": 8.0, "unused": 0.0} and found.total == 8


def test_one_sample_of_one_output():
    model = nn.Linear(2, 1).double().eval()
    x = torch.tensor([[3.0, 4.0]]).double()
    found = fisher_trace(Task(model, loss="mse"), (x, torch.zeros(1, 1).double()), per_layer=False)
    assert found.total == pytest.approx(26) and found.per_sample.tolist() == pytest.approx([26])
    assert found.per_layer is None and found.labels == "exact"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_told(value):
    model = nn.Linear(3, 2).eval()
    with torch.no_grad():
        model.weight[0, 0] = value
    with pytest.raises(NumericsError, match=r"fisher_trace: gradients must be finite; got nan for sample 0"):
        fisher_trace(Task(model), (torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)))


def test_misuse():
    task, x, _, arrays = golden("linear_ce")
    with pytest.raises(ConfigError, match=r"^fisher_trace: labels must be one of 'exact', 'empirical'; got 'sampled'"):
        fisher_trace(task, (x, arrays["y"]), labels="sampled")
    for labels in (["exact"], ("mc", 1), None):
        with pytest.raises(ConfigError, match=r'fisher_trace: labels must be "exact", "empirical" or \("mc", draws'):
            fisher_trace(task, (x, arrays["y"]), labels=labels)
    with pytest.raises(ConfigError, match=r"^fisher_trace: task must be a Task or a Capture; got Linear"):
        fisher_trace(task.model, (x, arrays["y"]))
    with pytest.raises(NotSupported, match="output Hessian must be known"):
        fisher_trace(Task(task.model, loss=lambda f, y: f[:, 0]), (x, arrays["y"]))
    assert infotorch.fisher_trace is fisher_trace


def test_it_prints_its_sums_alone():
    task = Task(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).double().eval())
    found = fisher_trace(task, (torch.ones(5000, 2).double(), torch.zeros(5000, dtype=torch.int64)))
    assert len(repr(found)) < 200 and f"{found.total:.6g} over N = 5000, labels exact (diagnostic)" in repr(found)
    assert [line.split()[0] for line in repr(found).splitlines()[1:]] == ["0", "1"] and found.kind == "diagnostic"
