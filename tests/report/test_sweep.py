"""The figures of a sweep of beta."""

import pytest

from infotorch import DataError
from infotorch.report.sweep import transition


def rows():
    return [
        {"beta": beta, "corruption": corruption, "seed": seed, "kl": (1 + corruption) / beta + seed,
         "train_acc": None if beta == 7 else min(1.0, 0.1 / beta)}
        for corruption in (0.0, 0.5) for beta in (0.1, 1.0) for seed in (0, 2)
    ]  # fmt: skip


def test_each_point_is_the_mean_over_seeds():
    information, accuracy = transition(rows())
    drawn = {(p["line"], p["beta"]): p["y"] for p in information.spec["datasets"]["rows"]}
    assert drawn == pytest.approx({
        ("0 % random", 0.1): 11, ("0 % random", 1.0): 2, ("50 % random", 0.1): 16, ("50 % random", 1.0): 2.5,
    })  # fmt: skip
    assert {p["y"] for p in accuracy.spec["datasets"]["rows"]} == {100.0, 10.0}
    assert information.table.rows == (("0.1", "11.0", "16.0"), ("1", "2.00", "2.50"))
    assert "0 % random 11.0 to 2.00; 50 % random 16.0 to 2.50. Means over 2 seeds" in information.caption
    assert information.kind == accuracy.kind == "estimate"


def test_names_stand_where_the_lines_are_apart():
    information, accuracy = transition([row | {"train_acc": row["beta"] ** row["corruption"] / 4} for row in rows()])
    for figure in (information, accuracy):
        names = figure.spec["datasets"]["names"]
        assert [name["beta"] for name in names] == [0.1, 0.1] and len({name["y"] for name in names}) == 2
    late = [row | {"kl": row["beta"] * (1 + row["corruption"])} for row in rows()]
    assert {name["beta"] for name in transition(late)[0].spec["datasets"]["names"]} == {1.0}


def test_the_specification_is_one_that_vega_draws():
    convert = pytest.importorskip("vl_convert", reason="no vl-convert: it comes with the report extra")
    for figure in transition(rows()):
        assert "<svg" in convert.vegalite_to_svg({**figure.spec, "width": 400})


def test_without_classes_there_is_no_accuracy():
    (information,) = transition([row | {"train_acc": None} for row in rows()])
    assert information == transition(rows())[0]


def test_no_rows_are_refused():
    with pytest.raises(DataError, match=r"report: a sweep must have rows; got none. Run infotorch sweep beta first."):
        transition([])
