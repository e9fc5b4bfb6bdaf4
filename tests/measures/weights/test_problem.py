"""What comes in: checked once, or refused in words."""

import math
import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from infotorch import ConfigError, DataError, NumericsError, Task, capture, weights_information
from infotorch.measures.weights.problem import joined
from tests.measures.weights.truths import net


def refused(error, words, task, data, **options):
    with pytest.raises(error, match=re.escape(words)):
        weights_information(task, data, **options)


def test_words_that_nobody_knows(rng):
    task, data = net(rng)
    for option, word, near in (
        ("estimator", "grams", "gram"),
        ("estimator", "kfacs", "kfac"),
        ("curvature", "fischer", "fisher"),
        ("labels", "exakt", "exact"),
    ):
        refused(ConfigError, f"got {word!r}. Did you mean {near!r}?", task, data, **{option: word})


def test_counts_are_whole(rng):
    task, data = net(rng)
    for option, value in (("draws", -1), ("draws", 1.5), ("passes", 0), ("passes", True)):
        refused(ConfigError, f"{option} must be a whole number of at least", task, data, **{option: value})


def test_what_contradicts_itself(rng):
    task, data = net(rng)
    refused(
        ConfigError,
        "curvature=\"empirical\" is of the data's labels; got labels='sketch'",
        task,
        data,
        curvature="empirical",
        labels="sketch",
    )
    with capture(task, data) as cap:
        refused(ConfigError, "task must be a Task; got Capture", cap, data)


def test_weights_are_finite(rng):
    task, data = net(rng)
    with torch.no_grad():
        task.model[2].bias[1] = math.nan
    refused(NumericsError, "weights must be finite; got nan in '2.bias'", task, data)


def test_the_model_is_in_eval_mode(rng):
    task, data = net(rng)
    task.model.train()
    refused(ConfigError, "the model must be in eval mode; got", task, data)
    assert task.model.training


def test_losses_are_of_one_sample_and_normalised(rng):
    task, (x, y) = net(rng)
    with pytest.raises(ConfigError, match='a loss must have reduction="none"'):
        Task(task.model, loss=nn.CrossEntropyLoss())
    mean = Task(task.model, loss=lambda f, y: nn.functional.cross_entropy(f, y))
    refused(ConfigError, "the loss must return one number a sample, [9]", mean, (x, y), labels="empirical")
    refused(DataError, "sum to 1; got a sum of 2", task, (x, torch.full((9, 3), 2 / 3).double()))


def test_one_class_has_no_curvature(rng):
    task, (x, _) = net(rng, C=1, loss="mse")
    one = Task(task.model)
    refused(ConfigError, "must have curvature in its outputs; got one class", one, (x, torch.zeros(9).long()))


def test_there_are_samples(rng):
    task, (x, y) = net(rng)
    refused(DataError, "data must hold at least one sample; got none", task, (x[:0], y[:0]))
    refused(DataError, "the loader must give at least one batch; got none", task, DataLoader([]))
    refused(DataError, "a batch must be (x, y) or a dict; got Tensor", task, x)


def test_data_can_be_read_again(rng):
    task, (x, y) = net(rng)
    refused(ConfigError, "data must be readable several times; got a generator", task, (batch for batch in [(x, y)]))
    refused(DataError, "x must be finite; got nan at sample 2", task, (x.index_fill(0, torch.tensor([2]), math.nan), y))


def test_one_sample_is_enough(rng):
    task, (x, y) = net(rng)
    for estimator in ("gram", "dense", "block", "kfac", "diag", "filter"):
        got = weights_information(task, (x[:1], y[:1]), estimator=estimator)
        assert got.N == 1 and 0 < got.d_eff and got.measured_risk is not None


def test_nests_are_joined():
    parts = [{"a": torch.ones(n, 2), "b": (torch.zeros(n), [torch.ones(n)])} for n in (2, 3)]
    got = joined(parts)
    assert got["a"].shape == (5, 2) and got["b"][0].shape == (5,) and got["b"][1][0].shape == (5,)


def test_batches_may_be_dicts(rng):
    """Of what the model takes, with the labels among them."""
    task, (x, y) = net(rng)
    named = Task(task.model, forward=lambda model, batch: model(batch["x"]))
    truth = weights_information(task, (x, y), draws=2)
    whole = weights_information(named, {"x": x, "labels": y}, draws=2)
    rows = [{"x": x[n], "labels": y[n]} for n in range(9)]
    parts = weights_information(named, DataLoader(rows, batch_size=5), draws=2)
    assert whole.nats == truth.nats and parts.nats == pytest.approx(truth.nats, rel=1e-12)
    assert parts.measured_rise == pytest.approx(truth.measured_rise, rel=1e-9)
