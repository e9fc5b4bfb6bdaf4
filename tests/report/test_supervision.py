"""Curves along a training hold every row, name their lines, and are Vega-Lite that compiles."""

import pytest

from infotorch.errors import ConfigError, DataError
from infotorch.report import theme
from infotorch.report.supervision import complexity, fidelity, similarity, supervision
from infotorch.report.view import view
from tests.report.double import digits_run

ROWS = [
    {"step": step, "target": target, "unit_adjusted": value * (1 + step / 100), "alignment": None}
    for target, value in (("labels", 3.0), ("offline teacher", 2.0), ("online teacher", 1.0))
    for step in (0, 100, 1000)
]


def test_complexity_has_a_line_a_target_and_every_number_in_its_table():
    figure = complexity(ROWS)
    data = figure.spec["datasets"]
    assert [(row["step"], row["line"], row["y"]) for row in data["rows"]] == [
        (row["step"], row["target"], row["unit_adjusted"]) for row in ROWS
    ]
    assert {name["line"] for name in data["names"]} == {"labels", "offline teacher", "online teacher"}
    assert {name["step"] for name in data["names"]} == {1000}
    assert figure.kind == "diagnostic" and figure.table.header == ("Step", *dict.fromkeys(r["target"] for r in ROWS))
    assert figure.table.rows[-1] == ("1,000", "33.0", "22.0", "11.0")
    assert "labels 3.00 to 33.0; offline teacher 2.00 to 22.0" in figure.alt


def test_rows_may_come_in_any_order_and_lack_numbers():
    rows = [*reversed(ROWS), {"step": 5, "target": "labels", "unit_adjusted": None}]
    data = complexity(rows).spec["datasets"]["rows"]
    assert [row["step"] for row in data] == 3 * [0, 100, 1000]
    assert complexity(ROWS[:1]).table.rows == (("0", "3.00"),)


def test_similarity_and_fidelity_are_drawn_by_training():
    rows = [
        {"step": step, "line": line, "similarity": 0.5 + step / 100, "fidelity": 0.9}
        for line in ("online", "offline")
        for step in (0, 10)
    ]
    for figure, last in ((similarity(rows), "0.600"), (fidelity(rows), "0.900")):
        assert figure.table.rows[1] == ("10", last, last) and figure.table.header == ("Step", "online", "offline")


def test_the_specification_compiles():
    convert = pytest.importorskip("vl_convert")
    for figure in (complexity(ROWS), complexity(ROWS[:1])):
        assert "<svg" in convert.vegalite_to_svg({**figure.spec, "config": theme.CONFIG, "width": 500})


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match=r"report: measure must be one of .* Did you mean 'alignment'"):
        complexity(ROWS, "alignmen")
    with pytest.raises(DataError, match="report: a curve needs a row with a number; got none of 9"):
        complexity(ROWS, "alignment")


def test_the_chapter_needs_its_note_and_says_the_last_step():
    run = digits_run(20)
    assert supervision(view(run)) is None
    alike = [{"step": 0, "line": "teacher", "similarity": 0.5}]
    run.noted["supervision"] = {"complexity": [*ROWS, {"step": 1000, "target": "x", "unit_adjusted": None}],
                                "similarity": alike}  # fmt: skip
    chapter = supervision(view(run))
    assert [figure.id for figure in chapter.figures] == ["complexity-unit_adjusted", "ntk-similarity"]
    assert "At step 1,000" in chapter.says and "online teacher 11.0, offline teacher 22.0, labels 33.0" in chapter.says


SETTINGS = {
    "f0": "student", "tau": 2.0, "output": "logits", "kernel": "avg", "ridge": None, "ridge_rel": 0.01,
    "data": {"num_samples": 256, "sample": [64]},
}  # fmt: skip


def test_several_tables_have_a_chart_each_and_say_what_they_are_of():
    run = digits_run(20)
    run.noted["supervision"] = [
        {"complexity": ROWS, "name": name, "settings": SETTINGS} for name in ("along/1", "along/2")
    ]
    chapter = supervision(view(run))
    assert [figure.id for figure in chapter.figures] == ["complexity-unit_adjusted", "complexity-unit_adjusted-1"]
    assert chapter.figures[1].title.endswith(": along/2")
    words = "along/1: 256 samples; the mean kernel over outputs, an approximation; ridge 0.01 of the mean diagonal; "
    assert words + "targets less the network’s probabilities at τ = 2. At step 1,000" in chapter.says
