import math

import numpy as np
import pytest
import torch

from infotorch.errors import ConfigError, ShapeError
from infotorch.measures.schedule import schedule
from infotorch.measures.training import Training

NOTHING = dict.fromkeys(("ridge_without", "time", "time_without", "lr", "lr_without", "steps"))


def plan(**changes):
    return schedule(**{"ridge": 0.0, **NOTHING, **changes})


def test_training_converges_unless_told_otherwise():
    assert plan().full == [Training(ridge=0.0, duration=math.inf)]
    assert plan().without == [plan().full]


def test_without_defaults_to_with():
    got = plan(ridge=0.5, lr=0.1, steps=(3, 7))
    assert got.full == [Training(ridge=0.5, duration=steps, lr=0.1) for steps in (3, 7)]
    assert got.for_set(5) == got.full


def test_each_group_may_have_its_own():
    got = plan(
        ridge=1.0,
        ridge_without=torch.tensor([0.5, 0.25]),
        time=[2.0, math.inf],
        time_without=[[3.0, 4.0], [math.inf, math.inf]],
        num_groups=2,
    )
    assert got.for_set(1) == [Training(ridge=0.25, duration=4.0), Training(ridge=0.25, duration=math.inf)]
    descent = plan(lr=0.1, lr_without=[0.2, 0.3, 0.4], steps=5, num_groups=3)
    assert [descent.for_set(g)[0].lr for g in range(3)] == [0.2, 0.3, 0.4]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "of",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda values: np.array(values[::-1])[::-1],
        lambda values: np.float32(values),
    ],
    ids=["list", "tuple", "array", "tensor", "reversed array", "float32 array"],
)
def test_numbers_come_in_any_container(of):
    got = plan(time=of([2.0, math.inf]), time_without=of([3.0, math.inf]))
    assert [training.duration for training in (*got.full, *got.for_set(0))] == [2, math.inf, 3, math.inf]
    steps = plan(lr=0.5, lr_without=of([0.25]), steps=of([3, 100])).for_set(0)
    assert steps == [Training(ridge=0.0, duration=steps, lr=0.25) for steps in (3, 100)]


@pytest.mark.parametrize("inf", [math.inf, np.float64("inf"), np.array(math.inf), torch.tensor(math.inf), [math.inf]])
def test_steps_without_end_are_allowed(inf):
    assert plan(lr=0.5, steps=inf).full == [Training(ridge=0.0, duration=math.inf, lr=0.5)]


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"steps": 3}, ConfigError, "steps needs lr; got steps=3 without lr"),
        ({"lr": 0.1}, ConfigError, "lr needs steps; got lr=0.1 without steps"),
        ({"lr_without": 0.1}, ConfigError, "lr_without needs lr; got lr_without=0.1 alone"),
        (
            {"lr": 0.1, "steps": 3, "time": 1.0},
            ConfigError,
            "time is of gradient flow, lr and steps of gradient descent",
        ),
        ({"lr": 0.1, "steps": 3, "time_without": 1.0}, ConfigError, "got both. Give one"),
        ({"time": "long"}, ConfigError, "time must be a number or numbers; got 'long'"),
        ({"ridge": None}, ConfigError, "ridge must be a number or numbers; got None"),
        ({"ridge": -1.0}, ConfigError, "ridge must be finite and at least 0; got -1.0"),
        ({"ridge": math.nan}, ConfigError, "ridge must be finite and at least 0; got nan"),
        ({"ridge_without": math.inf}, ConfigError, "ridge_without must be finite and at least 0; got inf"),
        ({"time": -0.5}, ConfigError, "time must be at least 0; got -0.5"),
        ({"time": [1.0, math.nan]}, ConfigError, "time must be at least 0; got nan"),
        ({"time": 1.0, "time_without": -1.0}, ConfigError, "time_without must be at least 0; got -1.0"),
        ({"lr": 0.0, "steps": 3}, ConfigError, "lr must be finite and above 0; got 0.0"),
        ({"lr": 0.1, "lr_without": -0.1, "steps": 3}, ConfigError, "lr_without must be finite and above 0; got -0.1"),
        ({"lr": 0.1, "steps": 2.5}, ConfigError, "steps must be a whole number, at least 0; got 2.5"),
        ({"lr": 0.1, "steps": [-1]}, ConfigError, "steps must be a whole number, at least 0; got -1.0"),
        ({"lr": 0.1, "steps": math.nan}, ConfigError, "steps must be a whole number, at least 0; got nan"),
        ({"lr": 0.1, "steps": -math.inf}, ConfigError, "steps must be a whole number, at least 0; got -inf"),
        ({"time": np.array(["long"])}, ConfigError, "time must be a number or numbers; got"),
        ({"time": []}, ShapeError, r"time must be a number or a list of them; got shape \(0,\)"),
        ({"time": [[1.0]]}, ShapeError, r"time must be a number or a list of them; got shape \(1, 1\)"),
        ({"ridge": [1.0, 2.0]}, ShapeError, "ridge must be one number; got 2"),
        (
            {"ridge_without": [1.0, 2.0]},
            ShapeError,
            "ridge_without must be one number, or one a group; got 2 without groups",
        ),
        ({"ridge_without": [1.0, 2.0], "num_groups": 3}, ShapeError, "got 2 for 3 groups"),
        (
            {"time": [1.0, 2.0], "time_without": 1.0},
            ShapeError,
            r"time_without must have the length of time, 2 .*got shape \(\)",
        ),
    ],
)
def test_contradictions_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        plan(**changes)
