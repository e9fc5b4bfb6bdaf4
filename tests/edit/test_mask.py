"""Masks of an exact number of entries."""

import math

import pytest
import torch

from infotorch import edit
from infotorch.blocks import fisher
from infotorch.errors import ConfigError, NumericsError
from tests.edit.problems import classified, golden


@pytest.mark.parametrize("k", [0, 2, 7, 20])
def test_golden(k):
    score = golden()["mask_score"]
    found = edit.mask({"a": score[:6].view(2, 3), "b": score[6:]}, keep=k)
    assert found["a"].shape == (2, 3) and found["a"].dtype == torch.bool
    assert torch.equal(torch.cat([found["a"].flatten(), found["b"]]), golden()[f"mask_{k}"])


@pytest.mark.parametrize("k", [0, 1, 17, 38])
def test_exactly_keep_and_none_below_one_that_is_not(k):
    task, x, y = classified()
    scores = fisher(task, (x, y), structure="diagonal")
    found = edit.mask(scores, keep=k)
    flat = torch.cat([m.flatten() for m in found.values()])
    assert int(flat.sum()) == k and list(found) == list(task.shapes)
    if 0 < k < 38:
        assert float(scores.diag()[flat].min()) >= float(scores.diag()[~flat].max())


def test_ties_go_to_those_that_come_first():
    found = edit.mask({"b": torch.ones(3), "a": torch.ones(4)}, keep=4)
    assert found["b"].tolist() == [True] * 3 and found["a"].tolist() == [True, False, False, False]


def test_always_counts_and_comes_first():
    scores = {"body": torch.tensor([5.0, 4.0, 3.0]), "head.w": torch.zeros(2), "head.b": torch.zeros(1)}
    found = edit.mask(scores, keep=4, always=["head.*"])
    assert (
        found["body"].tolist() == [True, False, False] and bool(found["head.w"].all()) and bool(found["head.b"].all())
    )
    assert not edit.mask(scores, keep=3, always=["head.*"])["body"].any()
    with pytest.raises(ConfigError, match="at least the 3 entries that are always kept; got 2"):
        edit.mask(scores, keep=2, always=["head.*"])


def test_a_share_is_rounded_down():
    found = edit.mask({"w": torch.arange(7.0)}, keep=0.5)
    assert found["w"].tolist() == [False] * 4 + [True] * 3
    assert bool(edit.mask({"w": torch.arange(7.0)}, keep=1.0)["w"].all())


@pytest.mark.parametrize("keep", [-1, 8, 1.5, -0.1, math.nan, "3", True])
def test_keep_out_of_range_is_refused(keep):
    with pytest.raises(ConfigError, match=r"keep must be a number of entries, 0 to 7, or a share in \[0, 1\]; got"):
        edit.mask({"w": torch.arange(7.0)}, keep=keep)


def test_scores_that_are_none_are_refused():
    with pytest.raises(NumericsError, match="scores must be numbers; got NaN in 'b'"):
        edit.mask({"a": torch.ones(2), "b": torch.tensor([1.0, math.nan])}, keep=1)
    with pytest.raises(ConfigError, match="scores must be a dict of tensors; got an empty one"):
        edit.mask({}, keep=0)
    with pytest.raises(ConfigError, match="every entry of always must match a parameter; got 'head'"):
        edit.mask({"a": torch.ones(2)}, keep=1, always=["head"])
