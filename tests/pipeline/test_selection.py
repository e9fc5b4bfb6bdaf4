"""The rule by which samples stay: against plain loops, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch.errors import ConfigError
from infotorch.pipeline.selection import apportioned, classes_of, dropped, highest, num_kept


def kept_one_by_one(values, classes, quotas):
    """Drops the lowest of a class, the last of equal ones, until its quota is left."""
    left = list(range(len(values)))
    for c, quota in enumerate(quotas):
        while sum(classes[i] == c for i in left) > quota:
            lowest = min(values[i] for i in left if classes[i] == c)
            left.remove(max(i for i in left if classes[i] == c and values[i] == lowest))
    return left


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=30), st.data())
def test_the_highest_of_each_class_stay_as_in_a_plain_loop(samples, data):
    values, classes = (np.array(column) for column in zip(*samples, strict=True))
    quotas = np.array([data.draw(st.integers(0, int((classes == c).sum()))) for c in range(4)])
    found = highest(values.astype(float), classes, quotas)
    assert found.tolist() == kept_one_by_one(values.tolist(), classes.tolist(), quotas.tolist())


def test_infinite_scores_have_their_place():
    values = np.array([0.0, np.inf, -np.inf, 1.0])
    assert highest(values, np.zeros(4, dtype=int), np.array([2])).tolist() == [1, 3]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.floats(0, 1))
def test_seats_are_less_than_one_from_the_exact_shares(counts, part):
    counts = np.array(counts)
    total = int(part * counts.sum())
    seats = apportioned(counts, total)
    exact = counts * (total / max(1, counts.sum()))
    assert seats.sum() == total and (seats <= counts).all() and (seats >= 0).all()
    assert (abs(seats - exact) < 1 + 1e-6).all()


def test_the_larger_remainder_gets_the_seat_and_of_equal_ones_the_first_class():
    assert apportioned(np.array([5, 3, 2]), 5).tolist() == [3, 1, 1]  # 2.5, 1.5, 1
    assert apportioned(np.array([7, 2, 1]), 5).tolist() == [4, 1, 0]  # 3.5, 1, 0.5
    assert apportioned(np.array([90, 5, 5]), 10).tolist() == [9, 1, 0]


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 500), st.data())
def test_rounds_drop_equal_shares_down_to_what_is_kept(N, data):
    count = data.draw(st.integers(1, N - 1))
    shares = dropped(N, count, data.draw(st.integers(1, N - count)))
    assert N - sum(shares) == count and min(shares) >= 1 and max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("keep", "N", "count"),
    [(0.3, 10, 3), (0.25, 10, 2), (1, 10, 1), (9, 10, 9), (np.int64(4), 10, 4), (0.999, 5000, 4995)],
)
def test_a_share_or_a_count_is_kept(keep, N, count):
    assert num_kept(keep, N) == count


@pytest.mark.parametrize("keep", [0.0, 1.0, 1.5, -0.5, float("nan"), float("inf"), True, None, "0.3"])
def test_what_is_neither_a_share_nor_a_count_is_refused(keep):
    message = (
        f"summarize: keep must be a share between 0 and 1 or a whole number of samples; got {keep!r}. "
        "Write 0.3 for three tenths, 300 for so many."
    )
    with pytest.raises(ConfigError) as error:
        num_kept(keep, 10)
    assert str(error.value) == message


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (10, 10), (11, 11), (-1, -1), (0.01, 0), (0.99, 10)])
def test_none_or_all_is_no_summary(keep, left):
    message = (
        f"summarize: keep must leave at least 1 of 10 samples and drop at least 1; got {keep!r}, which leaves {left}. "
        "Choose a number from 1 to 9, or the share of it."
    )
    with pytest.raises(ConfigError) as error:
        num_kept(keep, 10)
    assert str(error.value) == message


@pytest.mark.parametrize("rounds", [0, -1, 8, 2.0, True, None])
def test_a_round_that_drops_nobody_is_refused(rounds):
    message = (
        "summarize: rounds must be a whole number from 1 to 7, the samples to drop, so that each round drops one; "
        f"got {rounds!r}. Lower rounds."
    )
    with pytest.raises(ConfigError) as error:
        dropped(10, 3, rounds)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (torch.tensor([3, 0, -1]), [3, 0, -1]),
        (torch.tensor([True, False]), [1, 0]),
        (torch.tensor([1.0, 0.0]), [1, 0]),
        (torch.tensor([[1.0], [0.0]]), [1, 0]),
        (torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), [2, 0]),
        (torch.tensor([0.5, 1.0]), None),
        (torch.tensor([[0.0, 0.0], [1.0, 0.0]]), None),
        (torch.tensor([[0.5, 0.5]]), None),
        (torch.zeros(2, 3, 1), None),
        (torch.zeros(2, 3, dtype=torch.int64), None),
    ],
    ids=str,
)
def test_labels_are_classes_where_they_say_one(y, classes):
    found = classes_of(y)
    assert found is None if classes is None else found.tolist() == classes and found.dtype == np.int64
