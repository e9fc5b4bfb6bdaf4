import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infotorch
from infotorch import Task, task_embedding
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures.embedding.probe import by_output
from tests.laws import assert_golden, assert_same, assert_same_bits
from tests.measures.embedding.probes import GOLDEN, Net, enumerated, golden_net

LAYERS = ["conv1", "conv2"]


@pytest.fixture
def made():
    model = golden_net()
    x = torch.randn(7, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Task(model), x, torch.tensor([0, 2, 2, 1, 2, 0, 2])


@pytest.mark.parametrize("place", range(3))
def test_golden(place):
    got = task_embedding(Task(golden_net()), torch.tensor(GOLDEN["x"][place]), probe_layers=LAYERS)
    assert_golden(got.values, torch.tensor(GOLDEN["embeddings"][place]), atol=0)
    assert got.filters[:5] == ("conv1[0]", "conv1[1]", "conv1[2]", "conv1[3]", "conv2[0]") and len(got) == 7
    assert got.layers == ("conv1", "conv2") and got.num_samples == 6


def test_golden_whose_first_filter_was_zeroed_by_hand():
    model = golden_net()
    got = task_embedding(Task(model), torch.tensor(GOLDEN["x"][3]), probe_layers=LAYERS)
    assert_golden(got.values[1:], torch.tensor(GOLDEN["embeddings"][3][1:]), atol=0)


def test_it_is_the_enumerated_fisher(made):
    task, x, _ = made
    assert_same(task_embedding(task, x, probe_layers=LAYERS).values, enumerated(task.model, x, LAYERS))


def test_batches_of_a_loader_add_up_and_labels_change_nothing(made):
    task, x, y = made
    whole = task_embedding(task, (x, y), probe_layers=LAYERS)
    split = task_embedding(task, DataLoader(TensorDataset(x, (y + 1) % 3), batch_size=3), probe_layers=LAYERS)
    assert_same(split.values, whole.values)
    assert split.num_samples == 7
    truth = nn.functional.cross_entropy(task.model(x), y)
    assert whole.meta["head_loss"] == pytest.approx(float(truth.detach()), rel=1e-12)
    assert task_embedding(task, x, probe_layers=LAYERS).meta["head_loss"] is None


def test_classes_weigh_the_same_where_balanced(made):
    task, x, y = made
    weights = torch.tensor([1 / 2, 1 / 4, 1 / 4, 1, 1 / 4, 1 / 2, 1 / 4], dtype=torch.float64) / 3
    truth = enumerated(task.model, x, LAYERS, weights)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    assert_same(task_embedding(task, (x, y), probe_layers=LAYERS, balance=True).values, truth)
    assert_same(task_embedding(task, loader, probe_layers=LAYERS, balance=True).values, truth)


def test_the_length_does_not_depend_on_the_classes():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 6, 5)
    sizes = {len(task_embedding(Task(Net(C).eval()), x, probe_layers="conv*")) for C in (2, 3, 9)}
    assert sizes == {7}


def test_a_model_that_splits_no_label_has_no_information():
    """One logit in two copies: p = 1/2 whatever the weights, so that no gradient reaches the probe."""
    model = golden_net()
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[:1].expand(3, -1))
        model.fc.bias.zero_()
    got = task_embedding(Task(model), torch.tensor(GOLDEN["x"][0]), probe_layers=LAYERS)
    assert got.values.abs().max() < 1e-30


def test_drawn_labels_are_about_the_exact_ones(made):
    task, x, _ = made
    exact = task_embedding(task, x, probe_layers=LAYERS).values
    drawn = task_embedding(task, x, probe_layers=LAYERS, labels=("mc", 400, 0))
    assert ((drawn.values - exact).norm() / exact.norm()) < 0.1
    assert drawn.meta["labels"] == ("mc", 400, 0)


def test_empirical_labels_are_another_quantity(made):
    task, x, y = made
    total = torch.zeros(4, 1, 3, 3, dtype=torch.float64)
    for one, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(task.model(one[None]), label[None])
        total += torch.autograd.grad(loss, task.model.conv1.weight)[0] ** 2 / 7
    got = task_embedding(task, (x, y), probe_layers="conv1", labels="empirical")
    assert_same(got.values, total.flatten(1).mean(1))


def test_a_frozen_probe_is_as_it_was_and_embeds_the_same(made):
    task, x, y = made
    before = task_embedding(task, (x, y), probe_layers=LAYERS).values
    task.model.conv1.requires_grad_(False)
    task.model.conv2.weight.requires_grad_(False)
    task.model.fc.weight.grad = torch.ones_like(task.model.fc.weight)
    got = task_embedding(task, (x, y), probe_layers=LAYERS)
    assert_same_bits(got.values, before)
    assert [p.requires_grad for p in task.model.parameters()] == [False, False, False, True, True, True]
    assert task.model.conv1.weight.grad is None and (task.model.fc.weight.grad == 1).all()
    with pytest.raises(DataError):
        task_embedding(task, (x * math.nan, y), probe_layers=LAYERS)
    assert not task.model.conv1.weight.requires_grad


def test_float32_is_near_the_truth(made):
    task, x, _ = made
    truth = enumerated(task.model, x, LAYERS)
    single = Task(task.model.float())
    assert_same(task_embedding(single, x.float(), probe_layers=LAYERS).values, truth, torch.float32)


def test_probe_alone_matters_of_task_params(made):
    task, x, _ = made
    whole = task_embedding(task, x, probe_layers=LAYERS).values
    assert_same_bits(task_embedding(Task(task.model, params=["fc.*"]), x, probe_layers=LAYERS).values, whole)


def test_variances_of_a_posterior_are_read_from_the_model():
    class Layer(nn.Conv2d):
        def __init__(self):
            super().__init__(1, 2, 2)
            logvar = [[[[0.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 2.0]]]]
            self.weight_logvar = nn.Parameter(torch.tensor(logvar, dtype=torch.float64))
            self.bias_logvar = nn.Parameter(torch.full((2,), 9.0))

    class Wrapper(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.prior_var = network, {"0": 0.5, "2": 1.0}

        def forward(self, x):
            return self.network(x)

    model = nn.Sequential(Layer(), nn.Flatten(), nn.Linear(2, 2)).eval()
    x, y = torch.randn(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    got = task_embedding(Task(model), (x, y), probe_layers="0", method="variational")
    e = math.exp(-1)
    assert_golden(got.values, torch.tensor([1.0, (3 * e + e**2) / 4], dtype=torch.float64))
    assert got.meta["method"] == "variational" and got.num_samples == 3 and got.filters == ("0[0]", "0[1]")
    assert got.meta["head_loss"] == pytest.approx(float(nn.functional.cross_entropy(model(x), y).detach()), rel=1e-6)
    assert got.prior_var is None
    behind = task_embedding(Task(Wrapper(model).eval()), x, probe_layers=["0"], method="variational")
    assert_same_bits(behind.values, got.values)
    assert behind.filters == got.filters and behind.prior_var.tolist() == [0.5, 0.5]
    model[0].weight_logvar.data = torch.zeros(2)  # one a filter
    assert task_embedding(Task(model), x, probe_layers=["0"], method="variational").values.tolist() == [1, 1]


def test_a_sample_whose_outputs_overflow_is_told_by_its_filter(made):
    task, x, _ = made
    with torch.no_grad():
        task.model.conv1.weight[2] = math.nan
    with pytest.raises((NumericsError, DataError), match="finite"):
        task_embedding(task, x, probe_layers="conv1")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probe_layers": "cnov1"}, "got 'cnov1', which matches none. Did you mean 'conv1'?"),
        ({"probe_layers": []}, r"probe_layers must be paths of layers or globs; got \[\]"),
        ({"probe_layers": "conv1", "method": "varational"}, "Did you mean 'variational'?"),
        (
            {"probe_layers": "conv1", "method": "variational"},
            "have parameters ...logvar; got Net without",
        ),
        ({"probe_layers": "conv1", "granularity": "weight"}, "granularity must be one of 'filter'; got 'weight'"),
        ({"probe_layers": "conv1", "labels": "exakt"}, "Did you mean 'exact'?"),
    ],
)
def test_options_out_of_range_are_refused(made, options, message):
    task, x, _ = made
    with pytest.raises(ConfigError, match=message):
        task_embedding(task, x, **options)


def test_data_and_modes_that_mislead_are_refused(made):
    task, x, y = made
    with pytest.raises(DataError, match="balance must have one class label a sample"):
        task_embedding(task, x, probe_layers="conv1", balance=True)
    with pytest.raises(DataError, match=r"got nan at sample 1.*batch 1 of the loader"):
        bad = x.clone()
        bad[5] = math.nan
        task_embedding(task, DataLoader(TensorDataset(bad, y), batch_size=4), probe_layers="conv1")
    task.model.train()
    with pytest.raises(ConfigError, match="the model must be in eval mode"):
        task_embedding(task, x, probe_layers="conv1")
    with pytest.raises(ConfigError, match="task must be a Task; got Net"):
        task_embedding(task.model, x, probe_layers="conv1")


def test_public_names():
    assert infotorch.task_embedding is task_embedding and infotorch.Embedding.__name__ == "Embedding"


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_a_transposed_convolution_are_its_output_channels(groups, rng):
    """A plain loop over samples, labels, and the weights that reach an output channel: its first axis is the inputs."""
    torch.manual_seed(0)
    turned = nn.ConvTranspose2d(4, 6, 2, groups=groups)  # weight [4, 6 / groups, 2, 2]
    model = nn.Sequential(turned, nn.Tanh(), nn.Flatten(), nn.Linear(54, 3)).double().eval()
    x = torch.randn(5, 4, 2, 2, dtype=torch.float64, generator=rng)
    total = torch.zeros_like(turned.weight)
    for one in x:
        log_p = model(one[None]).log_softmax(1)[0]
        for c in range(3):
            (g,) = torch.autograd.grad(-log_p[c], [turned.weight], retain_graph=True)
            total += log_p[c].detach().exp() * g.square() / len(x)
    wide, deep = 6 // groups, 4 // groups
    want = [total[deep * (o // wide) : deep * (o // wide + 1), o % wide].mean() for o in range(6)]
    found = task_embedding(Task(model), x, probe_layers="0")
    assert found.filters == tuple(f"0[{o}]" for o in range(6))
    torch.testing.assert_close(found.values, torch.stack(want), rtol=1e-10, atol=0)
    logvar = torch.randn(turned.weight.shape, dtype=torch.float64, generator=rng)
    by_loop = torch.stack([logvar[deep * (o // wide) : deep * (o // wide + 1), o % wide] for o in range(6)])
    assert torch.equal(by_output(logvar, turned), by_loop)  # of every weight; one a channel is as it is
    assert torch.equal(by_output(logvar.flatten()[:6], turned), logvar.flatten()[:6])
