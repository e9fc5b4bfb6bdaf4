"""The table of scores: what it promises, and what it refuses."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch.errors import ConfigError, MissingExtraError, NumericsError, ShapeError
from infotorch.table import Column, Estimate, Scores, last_times, stem_of, time_of


def column(values, **options):
    return Column(values=np.asarray(values), **{"unit": "nats", "source": "arXiv 2101.06640, eq. 5"} | options)


def scores(**columns):
    first = next(iter(columns.values()))
    return Scores(index=np.arange(len(first)), columns={name: column(values) for name, values in columns.items()})


def test_columns_keep_their_order_and_the_first_is_main():
    table = scores(b=[1.0, 2.0], a=[3.0, 4.0])
    assert list(table.columns) == ["b", "a"] and table.main == "b" and len(table) == 2
    assert table.values.tolist() == [1, 2] and table["a"].values.tolist() == [3, 4] and table.ids.tolist() == [0, 1]


def test_later_changes_of_the_mapping_do_not_reach_the_table():
    columns = {"a": column([1.0])}
    table = Scores(index=np.arange(1), columns=columns)
    columns["b"] = column([1.0, 2.0])
    assert list(table.columns) == ["a"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf]), max_size=20), st.integers(0, 25))
def test_largest_is_a_stable_descending_sort(values, k):
    order = scores(a=np.asarray(values, dtype=np.float64)).largest(k)
    assert order.tolist() == sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]


@pytest.mark.parametrize("values", [[True, False, True], np.array([-(2**63), 5, 5])], ids=["bool", "int64"])
def test_largest_takes_every_dtype(values):
    expected = sorted(range(3), key=lambda i: (-int(values[i]), i))
    assert scores(a=values).largest(3).tolist() == expected


def test_largest_refuses_several_numbers_a_sample():
    with pytest.raises(ConfigError, match="one number a sample; got 'a' with 2"):
        scores(a=[[1.0, 2.0]]).largest(1)


def test_largest_refuses_a_negative_count():
    with pytest.raises(ConfigError, match="k must be at least 0; got -1"):
        scores(a=[1.0]).largest(-1)


def test_rows_and_join_undo_each_other():
    table = scores(a=[1.0, 2.0, 3.0], b=[[1, 2], [3, 4], [5, 6]])
    part = table.rows(1, 3)
    assert part.index.tolist() == [1, 2] and part["b"].values.tolist() == [[3, 4], [5, 6]] and part["a"].unit == "nats"
    joined = scores(a=[1.0, 2.0]).join(scores(b=[3.0, 4.0]))
    assert list(joined.columns) == ["a", "b"] and joined.main == "a"


def test_join_refuses_other_samples_and_equal_names():
    with pytest.raises(ShapeError, match="same index; got 1 and 2 rows"):
        scores(a=[1.0]).join(scores(b=[1.0, 2.0]))
    with pytest.raises(ConfigError, match="got 'a' in both"):
        scores(a=[1.0]).join(scores(a=[2.0]))


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(ConfigError, match=r"got 'own_residul'\. Did you mean 'own_residual'\?"):
        scores(own_residual=[1.0])["own_residul"]
    with pytest.raises(ConfigError, match="main must be one of 'a'; got 'b'"):
        Scores(index=np.arange(1), columns={"a": column([1.0])}, main="b")


def test_a_table_is_asked_for_columns_by_name():
    table = scores(a=[1.0, 2.0], b=[3.0, 4.0])
    assert "a" in table and "c" not in table and 0 not in table
    for other in (0, ["a", "b"]):
        with pytest.raises(ConfigError, match=rf"column must be one of 'a', 'b'; got {re.escape(repr(other))}"):
            table[other]


def test_the_suspicious_end_of_a_column():
    table = scores(margin=[1.0, -1.0, 1.0, -1.0], margin_stderr=[0.0, 2.0, 1.0, 2.0], loss=[0.0, 2.0, 1.0, 2.0])
    assert table.suspicious("margin").tolist() == [1, 3, 0, 2]
    assert table.suspicious("margin_stderr").tolist() == table.suspicious("loss").tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("values", [[1.0, np.nan], [[1.0, 2.0], [np.nan, 1.0]]], ids=["N", "NC"])
def test_nan_is_refused_by_sample(values):
    with pytest.raises(
        NumericsError, match=r"'a' must be a number for every sample; got nan for sample 7 \(1 in all\)"
    ):
        Scores(index=np.array([3, 7]), columns={"a": column(values)})


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.array([0.0]), "must be an int64 array [N]; got float64 [1]"),
        ([0], "must be an int64 array [N]; got list"),
        (np.array([[0]]), "must be an int64 array [N]; got int64 [1, 1]"),
        (np.array([-1]), "non-negative and strictly increasing; got -1 in row 0"),
        (np.array([1, 2, 2]), "non-negative and strictly increasing; got 2 in row 2"),
        (np.arange(2), "column 'a' must have one row a sample, 2; got 1"),
    ],
)
def test_a_wrong_index_is_refused(index, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        Scores(index=index, columns={"a": column([1.0])})


@pytest.mark.parametrize("name", ["", "index"])
def test_a_column_needs_a_name_of_its_own(name):
    with pytest.raises(ConfigError, match=f"a name of its own; got {name!r}"):
        Scores(index=np.arange(1), columns={name: column([1.0])})


def test_a_table_without_columns_is_refused():
    with pytest.raises(ConfigError, match="at least one column; got none"):
        Scores(index=np.arange(1), columns={})


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1], dtype=np.int32), [1.0]])
def test_a_column_refuses_other_types(values):
    with pytest.raises(ConfigError, match="NumPy array of float64, float32, int64, bool; got"):
        Column(values=values, unit="1", source="")


@pytest.mark.parametrize("shape", [(), (1, 1, 1), (2, 0)])
def test_a_column_refuses_other_shapes(shape):
    with pytest.raises(ShapeError, match=re.escape(f"[N] or [N, C]; got {list(shape)}")):
        Column(values=np.zeros(shape), unit="1", source="")


def test_units_and_kinds_are_the_allowed_ones():
    with pytest.raises(
        ConfigError, match=r"unit must be one of 'nats', 'nats\^2', '1'; got 'nat'\. Did you mean 'nats'\?"
    ):
        column([1.0], unit="nat")
    with pytest.raises(ConfigError, match=r"kind must be one of .*; got 'bond'\. Did you mean 'bound'\?"):
        column([1.0], kind="bond")
    with pytest.raises(ConfigError, match="Estimate: unit must be one of"):
        Estimate(name="a", value=1.0, unit="bits")


def test_to_pandas_names_the_outputs_of_wide_columns():
    pytest.importorskip("pandas")
    frame = scores(a=[1.0, 2.0], b=[[1, 2], [3, 4]]).to_pandas()
    assert list(frame) == ["a", "b_0", "b_1"] and frame.index.name == "index" and frame["b_1"].tolist() == [2, 4]


def test_to_pandas_names_the_missing_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "infotorch[pandas]"')):
        scores(a=[1.0]).to_pandas()


def test_an_estimate_is_a_number():
    estimate = Estimate(name="AUROC", value=0.5, stderr=0.1, parts={"a": 1.0})
    assert Estimate(**estimate.to_dict()) == estimate
    for options, message in [
        ({"value": math.nan}, "value of 'a' must be a number; got nan"),
        ({"value": 1.0, "parts": {"b": math.nan}}, r"parts\['b'\] of 'a' must be a number"),
        ({"value": 1.0, "stderr": -1.0}, "stderr of 'a' must be at least 0; got -1.0"),
        ({"value": 1.0, "stderr": math.nan}, "stderr of 'a' must be at least 0; got nan"),
    ]:
        with pytest.raises(NumericsError, match=message):
            Estimate(name="a", **options)
    with pytest.raises(ConfigError, match="name must not be empty"):
        Estimate(name="", value=1.0)


@pytest.mark.parametrize(
    ("name", "stem", "time"),
    [
        ("own_residual", "own_residual", ""),
        ("own_residual_steps_300", "own_residual", "_steps_300"),
        ("own_residual_time_2.5_stderr", "own_residual", "_time_2.5"),
        ("own_residual_stderr", "own_residual", ""),
    ],
)
def test_names_end_in_their_time(name, stem, time):
    assert (stem_of(name), time_of(name)) == (stem, time)


def test_columns_at_their_last_time_leave_out_errors_and_changes():
    names = ["a_steps_1", "a_steps_20", "a_steps_20_stderr", "a_steps_20_change", "ab", "ab_change", "b_time_inf"]
    assert last_times(names) == {"a": "a_steps_20", "ab": "ab", "b": "b_time_inf"}
