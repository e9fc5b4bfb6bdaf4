"""Means over epochs, checked by hand, and their state."""

import numpy as np
import torch

from infotorch.train import epoch_scores
from infotorch.train.epoch_scores import EpochScores


def add(scores, ids, values, step=0):
    scores.add(torch.tensor(ids), torch.tensor(values), step)


def test_means_by_hand():
    scores = EpochScores()
    add(scores, [5, 2], [1.0, 2.0])
    add(scores, [5, 9], [7.0, 3.0], 1)  # what comes first counts
    scores.end_epoch()
    assert scores.ids.tolist() == [2, 5, 9] and scores.values.tolist() == [2, 1, 3]
    add(scores, [5, 1, 2], [2.0, 4.0, torch.nan], 2)  # a sample without label, and a new one
    scores.end_epoch()
    assert scores.ids.tolist() == [1, 2, 5, 9]
    assert np.allclose(scores.values, [4, 2, 0.8 * 1 + 0.2 * 2, 3], rtol=1e-7, atol=0)
    assert scores.values.dtype == np.float32


def test_an_epoch_without_samples_changes_nothing():
    scores = EpochScores()
    scores.end_epoch()
    assert not len(scores.ids)
    add(scores, [3], [1.5])
    scores.end_epoch()
    scores.end_epoch()
    assert scores.ids.tolist() == [3] and scores.values.tolist() == [1.5]


def test_samples_that_come_again_are_not_kept(monkeypatch):
    monkeypatch.setattr(epoch_scores, "_ROOM", 4)
    scores = EpochScores()
    for step in range(100):
        add(scores, [0, 1, 2], [float(step)] * 3, step)
        assert scores._rows <= 2 * 3 + 4 + 3
    scores.end_epoch()
    assert scores.values.tolist() == [0, 0, 0]


def test_state_within_an_epoch():
    first, second = EpochScores(), EpochScores()
    add(first, [1, 2], [1.0, 2.0])
    first.end_epoch()
    add(first, [2, 3], [5.0, 6.0], 1)
    second.load_state_dict(first.state_dict(), 0, 1)
    for scores in (first, second):
        add(scores, [2, 4], [9.0, 9.0], 2)
        scores.end_epoch()
    assert first.ids.tolist() == second.ids.tolist() == [1, 2, 3, 4]
    assert first.values.tobytes() == second.values.tobytes()


def test_what_more_ranks_added_is_dealt_out():
    parts = [(torch.tensor([k]), torch.tensor([float(k)]), torch.tensor([0])) for k in range(3)]
    state = {"ids": torch.empty(0).long(), "values": torch.empty(0), "pending": parts}
    found = []
    for rank in range(2):
        scores = EpochScores()
        scores.load_state_dict(state, rank, 2)
        scores.end_epoch()
        found += scores.ids.tolist()
    assert sorted(found) == [0, 1, 2]
