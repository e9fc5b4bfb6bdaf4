import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch import Task
from infotorch.errors import DataError
from infotorch.measures import SampleLoss
from tests.laws import assert_same
from tests.measures.baselines.doubles import binary, classifier, shown


def values(task, x, y):
    return torch.from_numpy(SampleLoss().scores(task, x, y).values)


def test_cross_entropy_of_labels_is_minus_the_logarithm_of_a_softmax(rng):
    task, x, y = classifier(rng)
    truth = [-(f.exp() / f.exp().sum()).log()[label] for f, label in zip(task.model(x).detach(), y, strict=True)]
    assert_same(values(task, x, y), torch.stack(truth))


def test_soft_targets_average_it(rng):
    task, x, _ = classifier(rng)
    t = torch.rand(11, 3, generator=rng, dtype=torch.float64).softmax(1)
    each = torch.stack([values(task, x, torch.full((11,), c)) for c in range(3)], 1)
    assert_same(values(task, x, t), (t * each).sum(1))


def test_a_binary_loss(rng):
    task, x, y = binary(rng)
    s = task.model(x)[:, 0].sigmoid().detach()
    assert_same(values(task, x, y), -torch.where(y == 1, s, 1 - s).log())


def test_a_regression_and_positions(rng):
    task, x, _ = classifier(rng)
    y = torch.randn(11, 3, generator=rng, dtype=torch.float64)
    half = Task(task.model, loss="mse")
    assert_same(values(half, x, y), ((task.model(x) - y) ** 2).sum(1).detach() / 2)
    tokens, x = shown(torch.randn(4, 6, 3, generator=rng))
    y = torch.randint(3, (4, 6), generator=rng)
    truth = F.cross_entropy(x.double().flatten(0, 1), y.flatten(), reduction="none").view(4, 6).sum(1)
    assert_same(values(tokens, x, y), truth, torch.float32)


def test_a_loss_of_the_users_has_no_unit(rng):
    task, x, y = classifier(rng)
    smoothed = Task(task.model, loss=nn.CrossEntropyLoss(reduction="none", label_smoothing=0.3))
    scores = SampleLoss().scores(smoothed, x, y)
    assert scores["loss"].unit == "1" and SampleLoss().scores(task, x, y)["loss"].unit == "nats"
    each = torch.stack([values(task, x, torch.full((11,), c)) for c in range(3)], 1)
    mixed = 0.7 * values(task, x, y) + 0.3 * each.mean(1)
    assert_same(torch.from_numpy(scores.values), mixed)


def test_golden():
    task, x = shown(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]], dtype=torch.float64))
    assert values(task, x, torch.tensor([1, 0])).tolist() == pytest.approx([math.log(4 / 3), math.log(2)])


def test_targets_that_the_loss_does_not_take_are_refused(rng):
    task, x, _ = classifier(rng)
    with pytest.raises(DataError, match="probability targets must be at least 0 and sum to 1"):
        values(task, x, torch.ones(11, 3, dtype=torch.float64))
