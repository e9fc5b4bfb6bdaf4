"""Chapters that only some runs have."""

import dataclasses

from infotorch.report.chapters import chapters, retraining
from infotorch.report.view import view
from tests.report.double import digits_run


def test_a_run_without_the_note_has_no_chapter():
    assert chapters(view(dataclasses.replace(digits_run(), noted={}))) == []


def test_retraining_draws_every_retrained_sample_and_the_line_of_equality():
    run = digits_run()
    figure = retraining(view(run)).figures[0]
    drawn = [(row["x"], row["y"]) for row in figure.spec["datasets"]["rows"]]
    note = run.noted["retraining"]
    assert drawn == list(zip(note["linearized"], note["retrained"], strict=True))
    assert all(end["x"] == end["y"] for end in figure.spec["datasets"]["ends"])
    assert len(figure.table.rows) == 16


def test_retraining_states_both_correlations():
    chapter = retraining(view(digits_run()))
    assert "Pearson 0.991, Spearman 0.985 (diagnostic)" in chapter.says
    assert chapter.does_not_say
