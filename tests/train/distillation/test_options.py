"""The schedule of checkpoints, and what can't be distilled."""

import copy
import math

import pytest
import torch
from torch import nn

from infotorch.errors import ConfigError
from infotorch.train import TeacherPath
from infotorch.train.distillation.options import DistillOptions, as_path, check_student
from tests.train.problems import mlp


@pytest.mark.parametrize("match", ["ahead", "behind"])
@pytest.mark.parametrize(("steps", "count"), [(9, 4), (10, 4), (3, 9), (1, 5), (7, 1), (10**17 + 1, 3)])
def test_schedule_is_that_of_whole_numbers(steps, count, match):
    """min(floor(k L / S) + 1, L) by Python's integers, at the ends and at random steps in between."""
    options, last = DistillOptions(match=match, steps=steps), count - 1
    for k in {0, 1, 2, 5, steps // 3, steps // 2, steps - 2, steps - 1} & set(range(min(steps, 100))) | {steps - 1}:
        share = divmod(k * last, steps)[0]
        assert options.checkpoint(k, count) == min(share + (match == "ahead"), last)


def test_checkpoints_have_equal_shares_and_an_order():
    options = DistillOptions(steps=12)
    assert [options.checkpoint(k, 4) for k in range(12)] == [1] * 4 + [2] * 4 + [3] * 4
    behind = DistillOptions(steps=12, match="behind")
    assert [behind.checkpoint(k, 4) for k in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    offline = DistillOptions(steps=12, mode="offline", match="behind")
    assert {offline.checkpoint(k, 4) for k in range(12)} == {3}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "onlin"}, "mode must be one of 'online', 'offline'; got 'onlin'. Did you mean 'online'"),
        ({"match": "ahed"}, "match must be one of 'ahead', 'behind'; got 'ahed'. Did you mean 'ahead'"),
        ({"loss": "k"}, "loss must be one of 'ce', 'kl', 'mse'; got 'k'. Did you mean 'kl'"),
        ({"amp": "bf61"}, "amp must be one of None, 'bf16', 'fp16'; got 'bf61'. Did you mean 'bf16'"),
        ({"tau": 0}, "tau must be finite and above 0; got 0"),
        ({"alpha": 2}, r"alpha must lie in \[0, 1\]; got 2"),
        ({"steps": 0}, "steps must be a whole number of at least 1; got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1; got 2.5"),
        ({"steps": True}, "steps must be a whole number of at least 1; got True"),
        ({"grad_accum": 0}, "grad_accum must be a whole number of at least 1; got 0"),
        ({"clip_norm": math.nan}, "clip_norm must be finite and above 0; got nan"),
    ],
)
def test_misuse(options, text):
    with pytest.raises(ConfigError, match=f"^distill: {text}"):
        DistillOptions(**{"steps": 5, **options})


def test_a_teacher_of_another_kind():
    with pytest.raises(ConfigError, match=r"^distill: teacher must be a TeacherPath or a module; got str"):
        as_path("distill", "runs/teacher")


def test_networks_that_share_or_lack_parameters():
    student = mlp()
    tied = copy.deepcopy(mlp(1))
    tied[0].weight = student[0].weight
    frozen = mlp().requires_grad_(False)
    stranger = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    with pytest.raises(
        ConfigError, match=r"^distill: student and teacher must share no .* student.0.weight = teacher.0"
    ):
        check_student("distill", student, None, TeacherPath([mlp(2), tied]))
    with pytest.raises(ConfigError, match=r"^distill: student must have a trainable parameter; got none"):
        check_student("distill", frozen, None, TeacherPath([mlp(2)]))
    with pytest.raises(ConfigError, match=r"^distill: optimizer must hold parameters of student alone; .* \[2, 2\]"):
        check_student("distill", student, stranger, TeacherPath([mlp(2)]))
