"""The chapter of sketched scores beside exact ones."""

import copy
import dataclasses

import pytest

from infotorch.report.chapters import chapters
from infotorch.report.fidelity import fidelity
from infotorch.report.view import view
from tests.report.double import digits_run, fidelity_note


def seen(**changes):
    run = digits_run()
    return view(dataclasses.replace(run, noted={"fidelity_curve": fidelity_note(run) | changes}))


def test_a_run_without_the_note_has_no_chapter():
    assert fidelity(view(digits_run())) is None


def test_the_curve_has_every_size_and_both_marks():
    chapter = fidelity(seen())
    figure, scatter = chapter.figures
    data = figure.spec["datasets"]
    note = fidelity_note(digits_run())
    drawn = {(row["k"], row["line"]): row["y"] for row in data["rows"]}
    assert drawn == {
        (point["dim"], name.removeprefix("unique_information_")): found["spearman"]["mean"]
        for point in note["points"]
        for name, found in point["columns"].items()
    }
    assert [(mark["word"], mark["k"]) for mark in data["marks"]] == [
        ("k of the run", 1024),
        ("directions in use", 212.4),
    ]
    assert all(row["low"] == pytest.approx(2 * row["y"] - row["high"]) for row in data["rows"])
    assert len(figure.table.rows) == 8 and figure.table.rows[0][0] == "256, weights"
    assert {row["x"] for row in scatter.spec["datasets"]["rows"]} == set(note["pairs"]["exact"])
    assert [each.id for each in chapters(seen())] == ["fidelity"]


def test_words_hold_the_numbers():
    chapter = fidelity(seen())
    assert (
        "With 1,024 numbers a gradient (the run’s own size) the rank correlation is 0.970 ± 0.004 in the weights"
        in (chapter.says)
    )
    assert "Training on all samples uses about 212 directions." in chapter.says
    assert "about 198 directions" in chapter.does_not_say
    figure = chapter.figures[0]
    assert "weights 0.880 ± 0.004 to 0.985 ± 0.004" in figure.alt and figure.alt.startswith("Spearman’s correlation")


def test_one_sketch_of_one_size_of_an_unknown_problem_is_drawn():
    note = fidelity_note(digits_run())
    (point,) = copy.deepcopy(note["points"][1:2])
    del point["columns"]["unique_information_functions"]
    for found in point["columns"].values():
        found |= {what: {"mean": found[what]["mean"], "stderr": None} for what in found}
    pairs = note["pairs"] | {"dim": 512}
    chapter = fidelity(seen(points=[point], pairs=pairs, seeds=[0], effective_dimension=None))
    assert "With 512 numbers a gradient (the run has 1,024)" in chapter.says and "on all samples" not in chapter.says
    figure = chapter.figures[0]
    assert "Upright" not in figure.caption and len(figure.spec["datasets"]["marks"]) == 1
    assert figure.table.rows == (("512, weights", "0.940", "0.950", "0.800"),)


def test_scores_that_are_all_the_same_have_no_point():
    points = copy.deepcopy(fidelity_note(digits_run())["points"])
    for found in points[0]["columns"].values():
        found["spearman"] = None
    figure = fidelity(seen(points=points)).figures[0]
    assert {row["k"] for row in figure.spec["datasets"]["rows"]} == {512, 1024, 2048}
    assert figure.table.rows[0][1] == "undefined"
