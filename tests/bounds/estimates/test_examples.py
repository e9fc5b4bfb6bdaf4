"""Scores of examples, against counting by hand."""

import numpy as np
import pytest

from infotorch import bounds
from infotorch.errors import ConfigError
from tests.bounds.small_grids import made


def test_scores_are_what_loops_count(tmp_path):
    grid = made(tmp_path)
    scores = bounds.example_scores(grid)
    assert set(scores.index) == set(grid.plan.supersamples.reshape(-1))
    for row, place in enumerate(scores.index):
        kept, wrong, votes = [], {True: [], False: []}, []
        for k1 in range(2):
            for i, column in np.argwhere(grid.plan.supersamples[k1] == place):
                joint = np.zeros((2, 4))
                for k2 in range(8):
                    pair, bit = grid.read(k1, k2).labels[0, i], grid.plan.masks[k1, k2, i]
                    joint[bit, 2 * pair[0] + pair[1]] += 1 / 8
                    wrong[bool(bit == column)].append(pair[column] != grid.labels[place])
                    votes += [pair[column]] if bit != column else []
                kept.append(bounds.mutual_information(joint))
        assert scores.values[row] == pytest.approx(np.mean(kept), abs=1e-12)
        assert scores["memorization"].values[row] == pytest.approx(np.mean(wrong[False]) - np.mean(wrong[True]))
        assert scores["suggested_label"].values[row] == np.bincount(votes, minlength=2).argmax()


def test_wrong_labels_are_memorised_and_seen_through(tmp_path):
    """Of a smooth pool with few flips, a flipped item is predicted right only when its own label is not there."""
    x = np.linspace(0, 1, 40)
    y = (x > 0.5).astype(int)
    y[[7, 30]] = 1 - y[[7, 30]]

    def train_fn(train, seed, extra):
        return lambda indices: y[train][np.abs(x[indices][:, None] - x[train]).argmin(1)]

    grid = bounds.run(bounds.plan(40, 20, 1, 20), train_fn, tmp_path, labels=y, workers=1, probe=False)
    scores = bounds.example_scores(grid)
    assert set(scores.index[scores.largest(2, by="memorization")]) == {7, 30}
    assert [int(scores["suggested_label"].values[place]) for place in (7, 30)] == [0, 1]


def test_pairs_show_who_predicts_what(tmp_path):
    grid = made(tmp_path)
    pairs = bounds.membership_pairs(grid, 3)
    assert [p.information for p in pairs] == sorted((p.information for p in pairs), reverse=True)
    first = pairs[0]
    np.testing.assert_allclose(first.when_trained_on.sum(2), 1)
    for trained, item in ((0, 0), (1, 1)):  # a nearest neighbour repeats the label it was trained on
        assert first.when_trained_on[trained, item, first.labels[item]] == 1
    everything = bounds.membership_pairs(grid, 10**6)
    assert len(everything) == 2 * 12
    assert sum(p.information for p in everything) == pytest.approx(bounds.estimate(grid)["fcmi"].information.sum())


def test_losses_alone_are_refused(tmp_path):
    grid = made(tmp_path, train_fn=lambda train, seed, extra: lambda indices: np.full(len(indices), 0.5))
    with pytest.raises(ConfigError, match=r"membership_pairs: runs must have kept predicted labels; got losses alone"):
        bounds.membership_pairs(grid, 1)
    assert list(bounds.example_scores(grid).columns) == ["membership_information", "memorization"]
