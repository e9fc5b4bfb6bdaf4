import numpy as np
import pytest

from infotorch.curation.grouping import grouped


def lists(values):
    groups, binned = grouped(values)
    return {name: rows.tolist() for name, rows in groups}, binned


def test_each_value_is_a_group():
    assert lists(["b", "a", "b", None]) == ({"b": [0, 2], "a": [1], "none": [3]}, False)
    assert lists([True, False, True]) == ({"True": [0, 2], "False": [1]}, False)
    assert lists([10, 2, 10]) == ({"2": [1], "10": [0, 2]}, False)


def test_many_numbers_are_fifths_and_every_sample_is_in_one(rng):
    values = np.random.default_rng(0).normal(size=101).tolist()
    groups, binned = grouped(values)
    assert binned and [len(rows) for _, rows in groups] == [20, 20, 20, 20, 21]
    assert sorted(np.concatenate([rows for _, rows in groups]).tolist()) == list(range(101))
    highest = [max(values[i] for i in rows) for _, rows in groups]
    lowest = [min(values[i] for i in rows) for _, rows in groups]
    assert all(a < b for a, b in zip(highest, lowest[1:], strict=False))
    assert groups[0][0].startswith(f"{min(values):.3g} to ") and groups[-1][0].endswith(f" to {max(values):.3g}")


def test_equal_numbers_stay_together():
    groups, binned = grouped([0] * 80 + list(range(1, 21)))
    assert binned and [(name, len(rows)) for name, rows in groups] == [("0 to 0.2", 80), ("0.2 to 20", 20)]


def test_names_of_parts_differ():
    groups, _ = grouped([20240101 + i for i in range(20)])
    assert len({name for name, _ in groups}) == 5


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), None])
def test_what_is_no_number_among_numbers_is_a_group_of_its_own(odd):
    values = [float(i) for i in range(20)] + [odd]
    groups, binned = grouped(values)
    assert binned and groups[-1][1].tolist() == [20] and sum(len(rows) for _, rows in groups) == 21
    assert groups[-1][0] == ("none" if odd is None else str(odd))
