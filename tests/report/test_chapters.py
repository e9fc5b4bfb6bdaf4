"""Chapters that only some runs have."""

import dataclasses

from infotorch.report.chapters import chapter_of, chapters, retraining
from infotorch.report.page import content
from infotorch.report.view import view
from tests.report.double import digits_run, weights_note


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


def test_scores_know_their_chapter_and_chapters_their_scores():
    assert chapter_of("limit_ema", ["weights", "limit"]) == "limit"
    assert chapter_of("limit_ema", ["weights"]) is None and chapter_of("loss", ["weights", "limit"]) is None
    run = digits_run()
    table = dataclasses.replace(run.table, columns={**run.table.columns, "leverage": run.table["own_residual"]})
    page = content(view(dataclasses.replace(run, table=table, noted={"weights": weights_note()})))
    place = len(page["data"]["about"]) - 1
    assert page["data"]["about"][0] == "distribution-0" and page["data"]["about"][place] == "weights"
    ((score, address),) = page["scores_of"]["weights"]
    assert (score.words, address) == ("leverage", f"distribution-{place}")
