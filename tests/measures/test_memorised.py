"""Counts checked by hand."""

import pytest
import torch

from infotorch.errors import ShapeError
from infotorch.measures.memorised import Memorised, memorised_counts


def test_counts_by_hand():
    true, given = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 1, 2, 0])
    predicted = torch.tensor([0, 1, 1, 1, 1, 2])  # one right label missed, one wrong one repeated, two seen through
    assert memorised_counts(predicted, given, true) == Memorised(
        acc_noisy_labels=0.5, memorised_count=1, mislabelled=3, recovered=2, acc_clean_subset=2 / 3
    )


def test_without_true_labels_counts_are_unknown_not_zero():
    counts = memorised_counts(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert counts.acc_noisy_labels == 0.5
    assert counts.memorised_count is counts.mislabelled is counts.recovered is counts.acc_clean_subset is None


def test_positions_without_label_are_left_out():
    given, true = torch.tensor([[0, -100], [1, 1]]), torch.tensor([[0, 7], [0, 1]])
    counts = memorised_counts(torch.tensor([[0, 0], [1, 0]]), given, true)
    assert counts == Memorised(
        acc_noisy_labels=2 / 3, memorised_count=1, mislabelled=1, recovered=0, acc_clean_subset=0.5
    )


def test_all_labels_wrong():
    assert memorised_counts([1, 1], [0, 1], [1, 0]).acc_clean_subset is None


def test_refusals():
    with pytest.raises(ShapeError, match=r"must have one shape; got \[2\], \[3\]"):
        memorised_counts([0, 1], [0, 1, 2])
    with pytest.raises(ShapeError, match="there must be a label; got none"):
        memorised_counts([0], [-100])
