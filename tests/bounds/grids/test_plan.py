"""Plans are the goldens' to the bit, balanced in every block, and refused in words."""

import json
import pathlib

import numpy as np
import pytest

from infotorch.bounds import Plan, plan
from infotorch.errors import ConfigError

CASES = json.loads((pathlib.Path(__file__).parents[2] / "golden/bounds/plan.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_goldens(case):
    one = plan(case["N"], case["n"], case["K1"], case["K2"], seed=case["seed"], block=case["block"])
    assert one.supersamples.tolist() == case["supersample"]
    assert one.masks.tolist() == case["masks"]
    assert one.run_seeds.tolist() == case["run_seeds"]


@pytest.mark.parametrize("block", [2, 4, 12])
def test_every_column_of_a_block_is_half_ones(block):
    one = plan(50, 7, 3, 12, block=block, seed=5)
    halves = one.masks.reshape(3, 12 // block, block, 7).sum(2)
    assert (halves == block // 2).all()
    assert len({masks.tobytes() for masks in one.masks}) == 3  # each supersample has masks of its own


def test_independent_masks_are_the_lowest_bits_of_their_words():
    one = plan(40, 5, 2, 3, seed=9, masks="iid")  # K2 is odd, which balanced masks can't be
    for k1 in range(2):
        for k2 in range(3):
            key = np.array([9, 2**62 + 2**32 * k1 + 2**31 + k2], np.uint64)
            words = np.random.Philox(key=key).random_raw(5)
            assert one.masks[k1, k2].tolist() == (words & np.uint64(1)).tolist()
    assert 0.4 < plan(400, 200, 1, 50, masks="iid").masks.mean() < 0.6


def test_a_supersample_has_no_place_twice():
    one = plan(31, 15, 4, 10)
    for pairs in one.supersamples:
        assert len(set(pairs.reshape(-1).tolist())) == 30 and pairs.max() < 31


def test_what_is_trained_on_is_the_masks_column():
    one = plan(30, 6, 2, 10)
    for k1 in range(2):
        for k2 in range(10):
            expected = [pair[bit] for pair, bit in zip(one.supersamples[k1], one.masks[k1, k2], strict=True)]
            assert one.train_indices(k1, k2).tolist() == expected


def test_a_plan_is_its_fields():
    one = plan(np.int64(30), 6, 2, 10, seed=2**64 - 1)
    again = Plan(**json.loads(json.dumps(one.fields())))
    assert again == one and again.digest == one.digest and (again.masks == one.masks).all()
    assert plan(30, 6, 2, 10, seed=1).digest != one.digest
    assert (one.run_seeds >= 0).all()


def test_seeds_of_runs_differ():
    seeds = plan(200, 5, 20, 50, masks="iid").run_seeds
    assert len(np.unique(seeds)) == seeds.size


@pytest.mark.parametrize("masks", ["balanced", "iid"])
def test_more_supersamples_and_runs_leave_the_first_as_they_are(masks):
    few, many = plan(40, 6, 2, 10, masks=masks), plan(40, 6, 5, 20, masks=masks)
    for name in ("masks", "run_seeds"):
        assert (getattr(many, name)[:2, :10] == getattr(few, name)).all()
    assert (many.supersamples[:2] == few.supersamples).all() and many.drawn_from() == few.drawn_from()
    assert plan(40, 6, 2, 20, masks=masks, block=20).drawn_from() != few.drawn_from()


REFUSED = {
    "small pool": (
        {"pool_size": 19},
        r"the pool must hold 2n = 20 items, .*; got 19\. Lower n to 9 or gather more data",
    ),
    "no pool": ({"pool_size": 0}, r"the pool must hold 2n = 20 items"),
    "n": ({"n": 0}, r"n must be at least 1; got 0\. Correct n"),
    "K1": ({"K1": 0}, r"K1 must be from 1 to 536870911; got 0"),
    "K2": ({"K2": 0}, r"K2 must be from 1 to 2147483647; got 0"),
    "many": ({"K2": 2**31}, r"K2 must be from 1 to"),
    "float": ({"K2": 10.0}, r"K2 must be a whole number; got 10\.0"),
    "bool": ({"n": True}, r"n must be a whole number; got True"),
    "odd K2": (
        {"K2": 15},
        r"K2 must be a multiple of block=10; got 15\. Set K2=20, another even block .* or masks='iid'",
    ),
    "odd block": ({"K2": 15, "block": 15}, r"block must be even, .*; got 15\. Set block=16, or masks='iid'"),
    "block": ({"block": -2}, r"block must be at least 1; got -2"),
    "seed": ({"seed": -1}, r"seed must be from 0 to 2\^64 - 1; got -1"),
    "large seed": ({"seed": 2**64}, r"seed must be from 0 to"),
    "masks": ({"masks": "balance"}, r"masks must be one of 'balanced', 'iid'; got 'balance'\. Did you mean 'balanced'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    changes, text = REFUSED[name]
    with pytest.raises(ConfigError, match=f"^plan: {text}"):
        plan(**{"pool_size": 40, "n": 10, "K1": 2, "K2": 10, **changes})
