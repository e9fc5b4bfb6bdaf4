"""Ranking wrong labels: AUROC by counting pairs, and the refusals."""

import numpy as np
import pytest
import torch

from infotorch.errors import ShapeError
from infotorch.measures import detection
from tests.train.golden import load


def test_auroc_counts_pairs_and_halves_ties(rng):
    scores = torch.randint(4, (60,), generator=rng).double()
    wrong = torch.rand(60, generator=rng) < 0.3
    above = (scores[wrong][:, None] > scores[~wrong]).double() + 0.5 * (scores[wrong][:, None] == scores[~wrong])
    found = detection(scores, wrong)
    assert found.auroc == pytest.approx(above.mean().item(), abs=1e-12) and found.num_wrong == int(wrong.sum())


def test_golden():
    case = load("detect")
    for name in ("distance", "l1", "xent", "margin"):
        assert detection(case[name], case["flipped"]).auroc == pytest.approx(float(case[f"auroc_{name}"]), abs=1e-12)


def test_precision_is_that_of_the_first():
    found = detection(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
    assert found.precision == 0.5 and found.auroc == 0.75


def test_without_both_kinds_there_is_no_number():
    assert detection(np.ones(3), np.ones(3, bool)).auroc is None
    found = detection(np.ones(3), np.zeros(3, bool))
    assert found.auroc is None and found.precision is None and found.num_wrong == 0


def test_refuses_other_shapes():
    with pytest.raises(ShapeError, match=r"scores and wrong must both be \[N\]; got \[3\] and \[2\]"):
        detection(np.ones(3), np.ones(2, bool))
