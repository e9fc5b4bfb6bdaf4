"""The record of a training: traces, loss and accuracy of the network as it then was, which is left as it is."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch.errors import ConfigError, NumericsError
from infotorch.measures import fisher_trace
from infotorch.task import Task
from infotorch.train import FisherTrace
from tests.capture.test_seeds import NETS, golden


@pytest.mark.parametrize("name", NETS)
def test_a_row_is_of_the_network_as_it_is(name):
    task, x, _, arrays = golden(name)
    y = arrays["y"]
    trace = FisherTrace(task, (x, y), every=3)
    trace(0)
    row = trace.rows[0]
    assert row["fisher_trace"] == pytest.approx(float(arrays["fisher_trace"]), rel=1e-10)
    assert row["loss"] == pytest.approx(float(arrays["loss_sum"]), rel=1e-10)
    assert row["per_layer"] == fisher_trace(task, (x, y)).per_layer
    f = arrays["outputs"]
    if task.loss == "mse":
        assert row["accuracy"] is None
    else:
        said = f.argmax(1) if f.shape[1] > 1 else (f[:, 0] > 0).long()
        assert row["accuracy"] == pytest.approx(float((said == y.long()).double().mean()))


def test_outputs_of_unit_norm():
    """By the Jacobian: J over the norm, the softmax at outputs over the norm."""
    task, x, _, arrays = golden("mlp_tanh_ce")
    trace = FisherTrace(task, (x, arrays["y"]), every=1, per_layer=False)
    trace(0)
    norms = arrays["outputs"].norm(dim=1)
    p = (arrays["outputs"] / norms[:, None]).softmax(1)
    J = arrays["jacobian"] / norms[:, None, None]
    L = p.diag_embed() - p[:, :, None] * p[:, None]
    assert trace.rows[0]["unit_fisher_trace"] == pytest.approx(float(torch.einsum("ncp,ncd,ndp->", J, L, J)), rel=1e-10)
    assert "per_layer" not in trace.rows[0]


def test_growing_logits_leave_the_unit_trace_of_the_layers_below_as_it_is():
    """What saturation does to tr F: the last layer times ten. The layers below are all that is asked about."""
    task, x, _, arrays = golden("mlp_tanh_ce")
    rows = []
    for scale in (1, 10):
        model = copy.deepcopy(task.model)
        for p in model[2].parameters():
            p.data *= scale
        trace = FisherTrace(Task(model, params=["0.*"]), (x, arrays["y"]), every=1)
        trace(0)
        rows.append(trace.rows[0])
    assert rows[1]["unit_fisher_trace"] == pytest.approx(rows[0]["unit_fisher_trace"], rel=1e-10)
    assert not rows[1]["fisher_trace"] == pytest.approx(rows[0]["fisher_trace"], rel=0.5)


def test_outputs_of_zero_stay_zero():
    model = nn.Linear(2, 3).double()
    for p in model.parameters():
        nn.init.zeros_(p)
    trace = FisherTrace(Task(model), (torch.ones(2, 2).double(), torch.tensor([0, 1])), every=1)
    trace(0)
    assert trace.rows[0]["unit_fisher_trace"] == pytest.approx(trace.rows[0]["fisher_trace"]) == pytest.approx(4.0)


def training(trace, model, x, y, steps=7):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trace(0)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        trace(step)


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


def test_a_training_is_the_same_with_it_as_without(rng):
    """Batch norm and dropout: modes, statistics, gradients and the random numbers are as they were."""
    x, y = torch.randn(12, 5, generator=rng).double(), torch.randint(0, 3, (12,), generator=rng)
    with_it, without = network(), network()
    trace = FisherTrace(Task(with_it), DataLoader(TensorDataset(x, y), batch_size=5), every=3)
    for model, call in ((with_it, trace), (without, lambda step: None)):
        torch.manual_seed(1)
        training(call, model, x, y)
    assert [row["step"] for row in trace.rows] == [0, 3, 6]
    for mine, theirs in zip(with_it.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(m.training for m in with_it)
    assert trace.rows[-1]["fisher_trace"] != trace.rows[0]["fisher_trace"]
    kept = copy.deepcopy(with_it)
    assert kept.training


def test_modes_come_back_after_a_failure():
    model = network()
    trace = FisherTrace(Task(model), (torch.ones(2, 5).double(), torch.tensor([0, 9])), every=1)
    with pytest.raises(ValueError, match="9"):
        trace(0)
    assert all(m.training for m in model) and trace.rows == []


def test_a_step_that_comes_twice_counts_once(rng):
    """As where gradients are accumulated over batches."""
    x, y = torch.randn(4, 5, generator=rng).double(), torch.randint(0, 3, (4,), generator=rng)
    trace = FisherTrace(Task(network()), (x, y), every=2)
    for step in (0, 0, 1, 1, 2, 2):
        trace(step)
    assert [row["step"] for row in trace.rows] == [0, 2]


def test_positions_without_labels_and_soft_labels_count_right(rng):
    model = nn.Linear(3, 4).double()
    x = torch.randn(5, 2, 3, generator=rng).double()
    y = model(x).argmax(-1)
    y[0, 0], y[1, 1] = (y[0, 0] + 1) % 4, -100
    trace = FisherTrace(Task(model), (x, y), every=1)
    trace(0)
    assert trace.rows[0]["accuracy"] == pytest.approx(8 / 9)
    soft = FisherTrace(Task(model), (x[:, 0], F.one_hot(y[:, 0], 4).double()), every=1)
    soft(0)
    assert soft.rows[0]["accuracy"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_network_that_has_diverged_is_refused(loss):
    """The Fisher matrix of one linear layer and a squared error is finite whatever its weights are."""
    model = nn.Linear(2, 2).double()
    y = torch.zeros(3, 2).double() if loss == "mse" else torch.tensor([0, 1, 1])
    trace = FisherTrace(Task(model, loss=loss), (torch.ones(3, 2).double(), y), every=2)
    trace(0)
    model.weight.data[0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"^FisherTrace: the loss must be finite; got nan at step 2\. Look at the"):
        trace(2)
    assert [row["step"] for row in trace.rows] == [0]


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_misuse(every):
    with pytest.raises(ConfigError, match=r"^FisherTrace: every must be a whole number of at least 1; got"):
        FisherTrace(Task(network()), None, every=every)
