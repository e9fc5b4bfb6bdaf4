"""The chapter of a LIMIT training."""

import dataclasses
import itertools

import numpy as np
import pytest

from infotorch.report.limit import limit
from infotorch.report.view import view
from tests.report.double import digits_run, limit_note


def chapter(**changes):
    run = digits_run(60)
    return limit(view(dataclasses.replace(run, noted={"limit": limit_note() | changes})))


def figures(**changes):
    return {figure.id: figure for figure in chapter(**changes).figures}


def test_a_run_without_the_note_has_no_chapter():
    assert limit(view(dataclasses.replace(digits_run(60), noted={}))) is None


def test_it_says_what_was_memorised():
    says = chapter().says
    assert "12 of 200 wrong labels (6.0\N{NO-BREAK SPACE}%), plain cross-entropy 190 (95\N{NO-BREAK SPACE}%)" in says
    assert "chance 0.987 (AUROC); of the 200 labels with the largest score 95.0 % are wrong" in says
    assert "error is 45.0 %; without information of the labels it would be at least 40.0 % (bound" in says
    assert "at least 0.0123 nats a label (estimate)" in says and "memorised about 57.0 nats" in says
    assert chapter().does_not_say
    assert "bound" not in chapter(fano=None).says
    alone = chapter(compared=None, detection=None, memorised={"count": None, "mislabelled": None, "recovered": None})
    assert "wrong labels" not in alone.says and "AUROC" not in alone.says


def test_accuracy_has_a_line_for_each_measured_on_and_for_each_training():
    figure = figures()["limit-accuracy"]
    rows = figure.spec["datasets"]["rows"]
    assert len(rows) == 5 * 6 and figure.table.header[1:] == (
        "test", "validation", "training", "CE test", "CE validation", "CE training",
    )  # fmt: skip
    last = {row["line"]: row["y"] for row in rows if row["epoch"] == 5}
    assert last["test"] == pytest.approx(90) and last["CE test"] == pytest.approx(60)
    assert figure.table.rows[-1][:2] == ("5", "90.0 %")
    history = [{**entry, "test_acc": None, "val_acc": None} for entry in limit_note()["history"]]
    assert len(figures(history=history, compared=None)["limit-accuracy"].spec["datasets"]["rows"]) == 5


def test_names_of_lines_that_end_together_are_moved_apart():
    history = [
        {**entry, "val_acc": entry["test_acc"], "acc_train": entry["test_acc"]} for entry in limit_note()["history"]
    ]
    names = figures(history=history, compared=None)["limit-accuracy"].spec["datasets"]["names"]
    places = sorted(name["y"] for name in names)
    assert [name["line"] for name in names] and places[0] == pytest.approx(90)
    assert all(b - a >= 0.06 * 72 - 1e-9 for a, b in itertools.pairwise(places))


@pytest.mark.parametrize(
    ("of", "kind"),
    [("passed on", "diagnostic"), ("at most in the weights", "bound"), ("nll of gradients", "diagnostic")],
)
def test_only_a_bound_is_called_one(of, kind):
    history = [{**entry, "nats_of": of} for entry in limit_note()["history"]]
    figure = figures(history=history)["limit-nats"]
    assert figure.kind == kind and of in figure.title and "100 nats" in figure.caption


def test_without_nats_there_is_no_such_chart():
    history = [{**entry, "nats": None, "nats_of": None} for entry in limit_note()["history"]]
    assert "limit-nats" not in figures(history=history)


def test_confusion_is_counted_by_given_label():
    figure = figures()["limit-confusion"]
    counts = np.asarray(limit_note()["confusion"])
    drawn = {(row["given"], row["predicted"]): row for row in figure.spec["datasets"]["rows"]}
    assert len(drawn) == np.count_nonzero(counts)
    assert all(row["n"] == counts[at] and row["share"] == counts[at] / counts[at[0]].sum() for at, row in drawn.items())
    most = max((counts[i, j], -i, -j) for i in range(10) for j in range(10) if i != j)
    assert figure.table.rows[0] == (str(-most[1]), str(-most[2]), str(most[0]))


def test_many_classes_are_listed_and_not_drawn():
    figure = figures(confusion=limit_note(C=60)["confusion"])["limit-confusion"]
    assert figure.spec["datasets"]["rows"] == [] and len(figure.table.rows) == 50 and "60 classes" in figure.caption
    assert "limit-confusion" not in figures(confusion=None)
