"""A learner that doesn't follow its seed, or its indices, is found out, warned of and told by every estimate."""

import itertools
import json
import warnings

import numpy as np
import pytest

from infotorch import bounds
from infotorch.bounds.grids.probe import Probe, read_probe
from infotorch.errors import StoreError
from tests.bounds.small_grids import made, nearest, threshold_pool

X, Y = threshold_pool()


def constant(train, seed, extra):
    return lambda indices: (X[indices] > 0.5).astype(int)


def drifting():
    """Each training goes on from the one before."""
    count = itertools.count()

    def train_fn(train, seed, extra):
        now = next(count)
        return lambda indices: indices // (now + 1) % 2

    return train_fn


def test_a_learner_that_ignores_its_indices(tmp_path):
    with pytest.warns(
        UserWarning, match=r"run: None of 24 predictions changed when a run was trained on other samples"
    ):
        grid = made(tmp_path, train_fn=constant, probe=True)
    assert read_probe(grid) == Probe(asked=24, repeat_differs=0, control_differs=0)
    said = str(bounds.estimate(tmp_path))
    assert "may ignore its train_indices" in " ".join(said.split())
    assert bounds.estimate(tmp_path)["fcmi"].value == 0


def test_a_learner_that_does_not_follow_its_seed(tmp_path):
    with pytest.warns(UserWarning, match=r"run: The learner isn't deterministic in its seed: of 24 predictions \d+ ch"):
        grid = made(tmp_path, train_fn=drifting(), probe=True)
    assert read_probe(grid).repeat_differs > 0
    assert "isn't deterministic in its seed" in " ".join(str(bounds.estimate(tmp_path)).split())


def test_one_that_draws_from_the_generators_of_the_process_is_deterministic(tmp_path):
    def train_fn(train, seed, extra):
        inner, flips = nearest(X, Y)(train, seed, extra), np.random.rand(len(Y)) < 0.3
        return lambda indices: np.where(flips[indices], 1 - inner(indices), inner(indices))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = made(tmp_path, train_fn=train_fn, probe=True)
    found = read_probe(grid)
    assert found.repeat_differs == 0 < found.control_differs and not found.warnings()


def test_a_good_learner_is_tried_once(tmp_path):
    calls = []

    def train_fn(train, seed, extra):
        calls.append(train.tolist())
        return nearest(X, Y)(train, seed, extra)

    grid = made(tmp_path, K1=1, K2=4, train_fn=train_fn, probe=True)
    pairs, mask = grid.plan.supersamples[0], grid.plan.masks[0, 0]
    test = [pair[1 - bit] for pair, bit in zip(pairs, mask, strict=True)]
    assert len(calls) == 6 and calls[0] == grid.plan.train_indices(0, 0).tolist() and calls[1] == test
    made(tmp_path, K1=1, K2=4, train_fn=train_fn, probe=True)
    assert len(calls) == 6


def test_an_ensemble_is_tried_in_two_calls_of_equal_size(tmp_path):
    """Its cells may round with their number, so a trial beside one other isn't compared with a cell among many."""
    sizes = []

    def ensemble(cells, indices):
        sizes.append(len(cells))
        found = [nearest(X, Y)(train, seed, None)(indices) for train, seed in cells]
        return np.stack([(each + (len(cells) == 4)) % 2 for each in found])  # another answer in other company

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = made(tmp_path, K1=2, K2=4, ensemble=ensemble, probe=True)
    assert sizes == [2, 2, 4, 4] and read_probe(grid).repeat_differs == 0 < read_probe(grid).control_differs


def test_an_ensemble_that_does_not_follow_seed_or_indices_is_found_out(tmp_path):
    count = itertools.count()

    def drifts(cells, indices):
        now = next(count)
        return np.stack([indices // (now + 1) % 2 for _ in cells])

    with (
        pytest.warns(UserWarning, match="isn't deterministic in its seed"),
        pytest.warns(UserWarning, match="may ignore its train_indices"),
    ):
        grid = made(tmp_path / "drifts", K1=1, K2=4, ensemble=drifts, probe=True)
    assert read_probe(grid).repeat_differs > 0 == read_probe(grid).control_differs

    def half(cells, indices):
        return np.stack([indices * 0 + 2 * (place == 1 and len(cells) == 2) for place in range(len(cells))])

    with pytest.warns(UserWarning, match="follows its seed and its indices is unknown: bounds: predicted labels"):
        made(tmp_path / "half", K1=1, K2=4, ensemble=half, probe=True)
    assert not (tmp_path / "half" / "probe.json").exists()


def test_a_learner_is_told_which_trainings_are_trials(tmp_path):
    told = []

    def train_fn(train, seed, extra):
        told.append((extra.k1, extra.k2, extra.probe))
        return nearest(X, Y)(train, seed, extra)

    made(tmp_path, K1=1, K2=4, train_fn=train_fn, probe=True)
    assert sorted(told, key=str) == [
        (0, 0, "control"), (0, 0, "repeat"), (0, 0, None), (0, 1, None), (0, 2, None), (0, 3, None)
    ]  # fmt: skip


def test_a_learner_that_cannot_be_tried_is_told_of(tmp_path):
    def train_fn(train, seed, extra):
        if train.tolist() == control:
            raise ValueError("not on these")
        return nearest(X, Y)(train, seed, extra)

    plan = bounds.plan(len(Y), 12, 2, 8, block=4)
    control = plan.supersamples[0][np.arange(12), 1 - plan.masks[0, 0]].tolist()
    with pytest.warns(UserWarning, match="follows its seed and its indices is unknown: ValueError: not on these"):
        grid = made(tmp_path, train_fn=train_fn, probe=True)
    assert grid.done().all() and read_probe(grid) is None


def test_a_probe_of_other_runs_does_not_count_and_a_damaged_one_is_named(tmp_path):
    grid = made(tmp_path, K1=1, K2=4, probe=True)
    file = tmp_path / "probe.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"grid": "0"}))
    assert read_probe(grid) is None
    for wrong in ("[]", "{}", json.dumps(content | {"more": 1}), "{"):
        file.write_text(wrong)
        with pytest.raises(StoreError, match=r"probe\.json must be as it was written; got"):
            read_probe(grid)
