import math

import pytest
import torch

from infotorch import Task
from infotorch.measures import EL2N
from tests.laws import assert_same
from tests.measures.baselines.doubles import binary, classifier, shown, two_logits


def values(task, x, y):
    return torch.from_numpy(EL2N().scores(task, x, y).values)


def test_it_is_the_distance_of_a_softmax_from_the_label(rng):
    task, x, y = classifier(rng)
    truth = []
    for f, label in zip(task.model(x).detach(), y, strict=True):
        p = f.exp() / f.exp().sum()
        truth.append(sum((p[c] - (c == label).double()) ** 2 for c in range(3)).sqrt())
    assert_same(values(task, x, y), torch.stack(truth))


def test_it_is_the_norm_of_the_gradient_in_the_logits(rng):
    task, x, y = classifier(rng)
    f = task.model(x).detach().requires_grad_()
    task.losses(f, y).sum().backward()
    assert_same(values(task, x, y), f.grad.norm(dim=1))


def test_one_logit_is_two(rng):
    task, x, y = binary(rng)
    s = task.model(x)[:, 0].sigmoid().detach()
    assert_same(values(task, x, y), math.sqrt(2) * (s - y).abs())
    assert_same(values(task, x, y), values(two_logits(task), x, y.long()))


def test_golden_and_ends():
    logits = torch.tensor([[0.0, math.log(3)], [1000.0, 0.0], [1000.0, 0.0]], dtype=torch.float64)
    got = values(*shown(logits), torch.tensor([1, 0, 1]))
    assert got.tolist() == pytest.approx([math.sqrt(2) / 4, 0.0, math.sqrt(2)])


def test_a_number_added_to_all_logits_changes_nothing(rng):
    task, x, y = classifier(rng)
    shifted = Task(task.model, forward=lambda model, x: model(x) + 5)
    assert_same(values(shifted, x, y), values(task, x, y))
