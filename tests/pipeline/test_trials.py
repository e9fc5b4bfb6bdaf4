"""From trials on some samples to all of them."""

import numpy as np
import pytest
import torch

from infotorch import UniqueInformation
from infotorch.data import samples_of
from infotorch.errors import NumericsError
from infotorch.pipeline import trials
from infotorch.pipeline.meter import Cost
from infotorch.pipeline.trials import Rows, exact_trial, extrapolated, highest, scores_bytes
from infotorch.table import Column, Scores
from tests.pipeline.test_streaming import N, made


def exact(num=N, **options):
    task, (x, y) = made()
    measure = UniqueInformation(form="dual", **{"time": 5.0} | options)
    return exact_trial(measure, measure.prepared(task, x[:num], y[:num]), samples_of((x[:num], y[:num])), num, 0)


def test_a_sum_of_two_powers_is_found_and_neither_is_negative():
    def of(share):
        return 2 * share**2 + 3 * share**3

    assert trials._grown((0.25, of(0.25)), (0.5, of(0.5)), (2, 3)) == pytest.approx(5.0)
    assert trials._grown((0.25, 0.0), (0.5, 1.0), (2, 3)) == pytest.approx(8.0)  # steeper than a cube: a cube
    assert trials._grown((0.25, 1.0), (0.5, 1.0), (2, 3)) == pytest.approx(4.0)  # flatter than a square: a square


def test_bytes_of_files_are_a_head_and_rows():
    assert extrapolated(lambda n: 100 + 8 * n, 50, Rows(num=1000, shard_size=300)) == 4 * 100 + 8 * 1000
    assert extrapolated(lambda n: 100 + 8 * n, 50, Rows(num=50, shard_size=300)) == 500


def test_scores_take_what_their_files_take(tmp_path, rng):
    def table(n):
        values = torch.rand(n, dtype=torch.float64, generator=rng).numpy()
        return Scores(index=np.arange(n), columns={"some": Column(values=values, unit="nats", source="a test")})

    found = scores_bytes(table(1000), Rows(num=20_000, shard_size=20_000), tmp_path)
    assert found == pytest.approx(
        trials.scores_bytes(table(20_000), Rows(num=20_000, shard_size=20_000), tmp_path), rel=0.1
    )


def test_a_small_exact_problem_is_tried_whole(monkeypatch):
    monkeypatch.setattr(trials, "WHOLE_KERNEL", 1e9)
    tried = exact()
    assert len(tried.table) == N and all(seconds > 0 for seconds in tried.seconds.values()) and not tried.why_not


def test_an_exact_problem_that_is_far_from_its_trial_is_not_guessed(monkeypatch):
    monkeypatch.setattr(trials, "WHOLE_KERNEL", 0.0)
    monkeypatch.setattr(trials, "FEW", 4)
    tried = exact()
    assert tried.seconds == {"kernel": None, "scores": None}
    assert tried.why_not == "70 samples are more than 4 times the 4 on which it was tried"


def test_an_exact_problem_near_its_trial_is_extrapolated(monkeypatch):
    monkeypatch.setattr(trials, "FEW", 20)
    monkeypatch.setattr(trials, "measured", lambda call: Cost(result=call(), seconds=1.0, peak=None))
    monkeypatch.setattr(trials, "WHOLE_KERNEL", 5.5)  # the second of such trials is the last
    tried = exact()
    assert len(tried.table) == 40 and all(seconds > 0 for seconds in tried.seconds.values())


def test_training_that_diverges_is_told():
    tried = exact(time=None, lr=1e3, steps=100)
    assert "Lower lr" in tried.why_not and tried.seconds["scores"] is None
    with pytest.raises(NumericsError, match="Lower lr"):
        task, (x, y) = made()
        UniqueInformation(form="dual", lr=1e3, steps=100).scores(task, x, y)


def test_the_highest_of_what_is_not_known_is_not_known():
    assert highest([3, 7]) == 7 and highest([3, None]) is None and highest([]) is None
