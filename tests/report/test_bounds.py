"""The chapter of generalization bounds."""

import copy
import dataclasses
import json
import re

import numpy as np
import pytest

from infotorch.bounds.estimates.result import BoundEstimate, Report
from infotorch.report import build
from infotorch.report.bounds import bounds
from infotorch.report.bounds_curves import curves
from infotorch.report.bounds_series import points, trained
from infotorch.report.bounds_terms import information, spread, terms
from infotorch.report.view import view
from tests.report.double import BOUNDS, bounds_note, bounds_run


def chapter(note, *, shown=None):
    return bounds(view(dataclasses.replace(shown or bounds_run(24), noted={"bounds": note})))


def over(note=None, **options):
    """Charts over n and over epochs."""
    return {figure.id: figure for figure in curves(points(note or bounds_note(**options)))}


def last(note):
    return trained(points(note))[-1]


def rows(figure, name="rows"):
    return figure.spec["datasets"][name]


def changed(note, path, value):
    """A copy of the note's first point with another entry, and that point's report."""
    note = copy.deepcopy(note)
    place = report = note["series"][0]["report"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return note, report


ONE = {"sizes": (75,)}
MAIN = ONE | {"ids": ("fcmi",)}


def test_a_report_from_runs_is_read_as_it_is_written():
    """The double's form is that of a report as JSON."""
    information = np.array([[0.02, 0.18], [0.0, 0.08]])
    one = BoundEstimate(
        id="fcmi", value=0.3, std=0.1, interval=None, per_supersample=np.array([0.4, 0.2]), information=information,
        null_mean=0.0274, null_value=0.183, of="expected gap", gap=0.15, m=1,
    )  # fmt: skip
    report = Report(
        bounds={"fcmi": one}, gap=0.15, gap_interval=None, train_error=np.array([0.0, 0.1]),
        test_error=np.array([0.2, 0.2]), n=2, num_runs=(20, 10), num_classes=2, mask_design="iid",
        correction="miller_madow", checkpoint=None, independence=0.01, warnings=("Missing runs.",),
    )  # fmt: skip
    written = json.loads(json.dumps(report.as_dict()))
    double = bounds_note(**MAIN)["series"][0]["report"]
    assert written.keys() == double.keys() and written["bounds"]["fcmi"].keys() == double["bounds"]["fcmi"].keys()
    series = [{"name": "n = 2", "n": 2, "checkpoint": None, "report": written}]
    found = chapter({"series": series, "warnings": [], "statement": report.statement, "pairs": []})
    assert "20 + 10 runs on 2 training samples of 2 classes (iid masks, bias corrected by miller_madow)" in found.says
    assert "the mean train error is 5.00 %, the test error 20.0 %" in found.says and "tell 0.0700 nats" in found.says
    assert report.statement in found.does_not_say and found.warnings == ("Missing runs.",)


def test_a_run_without_points_has_no_chapter():
    assert chapter(None) is None
    assert chapter(bounds_note(sizes=())) is None


def test_it_says_bound_gap_ratio_and_information_from_the_numbers():
    note, report = changed(bounds_note(**MAIN), ("bounds", "fcmi", "value"), 0.25)
    report["bounds"]["fcmi"] |= {"gap": 0.1, "interval": [0.2, 0.3], "information_mean": 0.0347, "null_mean": 0.0274,
                                 "null_value": 0.183}  # fmt: skip
    says = chapter(note).says
    assert "5 × 30 runs on 75 training samples of 2 classes (balanced masks): " in says
    assert "fcmi, from predictions, on the expected gap is 0.250 (estimate, 95 % interval 0.200 to 0.300)" in says
    assert "the gap seen is 0.100 (estimate): the bound is 2.50 times as large" in says
    assert "predictions on a pair tell 0.0347 nats (0.0501 bits) of which sample was trained on (estimate)" in says
    assert "of 0.693 nats at most; chance alone shows 0.0274 nats, a bound of 0.183 (diagnostics)" in says
    assert "vacuous" not in says and "From" not in says and "no larger" not in says


@pytest.mark.parametrize(
    ("value", "gap", "said"),
    [(0.1, 0.2, "larger than the bound, which an estimate does not exclude"), (0.0, 0.0, "seen is 0 (estimate)."),
     (0.1, -0.02, "the gap seen is −0.0200 (estimate).")],
)  # fmt: skip
def test_no_ratio_is_said_where_it_means_nothing(value, gap, said):
    note, report = changed(bounds_note(**MAIN), ("bounds", "fcmi", "value"), value)
    report["bounds"]["fcmi"]["gap"] = gap
    says = chapter(note).says
    assert said in says and "times as large" not in says


def test_a_bound_that_chance_alone_shows_is_said_to_be_one():
    note, report = changed(bounds_note(**MAIN), ("bounds", "fcmi", "null_value"), 5.0)
    assert "a bound of 5.00 (diagnostics): the bound is no larger than that" in chapter(note).says
    report["independence"] = 0.4
    caption = information(last(note)).caption
    assert "Of shuffled masks 40.0 % show as much" in caption and "no sign that predictions depend" in caption
    report["independence"] = None
    assert "shuffled" not in information(last(note)).caption


def test_it_says_where_the_series_leads():
    note = bounds_note(sizes=(75, 4000), checkpoints=(10, 200), ids=("fcmi",))
    reports = {(point["n"], point["checkpoint"]): point["report"] for point in note["series"]}
    for at, value in {(75, 200): 0.4, (4000, 10): 0.1, (4000, 200): 0.3}.items():
        reports[at]["bounds"]["fcmi"]["value"], reports[at]["gap"] = value, value / 2
    says = chapter(note).says
    assert "From n = 75 to n = 4,000 fcmi goes from 0.400 to 0.300, the gap from 0.200 to 0.150 (estimates)." in says
    assert "From epoch 10 to epoch 200, n = 4,000, fcmi goes from 0.100 to 0.300, the gap from 0.0500" in says


def test_it_does_not_call_itself_certified_and_bounds_no_single_run():
    note = bounds_note(warnings=["Of one point."], ids=("fcmi", "kl"), **ONE)
    found = chapter(note)
    text = found.does_not_say
    assert text.startswith(note["statement"]) and "not the gap of this run" in text and "overlap" in text
    assert "on the risk" in text and found.warnings == (*note["warnings"], "Of one point.")
    single = chapter(bounds_note(K1=1, **MAIN)).does_not_say
    assert "overlap" not in single and "single supersample" in single and "on the risk" not in single


def test_a_warning_says_of_which_sizes_and_epochs_it_is():
    note = bounds_note(sizes=(25, 75, 1000), checkpoints=(5, 10, 20, 40), warnings=["Of all."])
    where = {(25, 5): "a", (25, 10): "a", (25, 20): "a", (75, 5): "b", (75, 10): "b", (75, 20): "b", (75, 40): "b",
             (1000, 5): "ab", (1000, 20): "abc", (1000, 40): "b"}  # fmt: skip
    for point in note["series"]:
        point["report"]["warnings"] += where.get((point["n"], point["checkpoint"]), "")
    assert chapter(note).warnings == (
        *note["warnings"],
        "Of all.",
        "n = 25, epochs 5 to 20; n = 1,000, epochs 5 and 20: a",
        "n = 75; n = 1,000, epochs 5, 20 and 40: b",
        "n = 1,000, epoch 20: c",
    )
    note = bounds_note(sizes=(25,), checkpoints=(5, 10))
    note["series"][0]["report"]["warnings"] = ["x"]
    assert chapter(note).warnings[-1] == "epoch 5: x"
    note = bounds_note(sizes=(25, 75), checkpoints=(None,))
    note["series"][1]["report"]["warnings"] = note["warnings"] = ["x"]
    assert chapter(note).warnings == ("n = 75: x",)


def test_over_n_there_is_a_line_for_each_bound_and_for_the_gap():
    note = bounds_note(ids=("fcmi", "ecmi", "kl"))
    drawn = over(note)
    assert list(drawn) == ["bounds-gap-n", "bounds-risk-n"]
    figure = drawn["bounds-gap-n"]
    values = {(row["line"], row["n"]): (row["y"], row["low"], row["high"]) for row in rows(figure)}
    assert len(values) == 4 * 3
    for point in note["series"]:
        report = point["report"]
        for id in ("fcmi", "ecmi"):
            bound = report["bounds"][id]
            assert values[id, point["n"]] == (bound["value"], *bound["interval"])
        assert values["gap", point["n"]] == (report["gap"], *report["gap_interval"])
    assert figure.spec["layer"][1]["encoding"]["x"]["scale"]["type"] == "log"
    risk = {(row["line"], row["n"]): row["y"] for row in rows(drawn["bounds-risk-n"])}
    last = note["series"][-1]["report"]
    assert risk["kl", 4000] == last["bounds"]["kl"]["value"]
    assert risk["test error", 4000] == pytest.approx(np.mean(last["test_error"]), rel=1e-12)
    assert figure.table.header[1:4] == ("Gap (95 % interval)", "fcmi (95 % interval)", "ecmi (95 % interval)")
    assert [row[0] for row in figure.table.rows] == ["n = 75", "n = 250", "n = 1000", "n = 4000"]


def test_over_n_the_last_epoch_counts_and_the_trained_network_is_after_it():
    note = bounds_note(sizes=(75, 250), checkpoints=(200, None, 10), ids=("fcmi",))
    drawn = over(note)
    assert [row["at"] for row in rows(drawn["bounds-gap-n"]) if row["line"] == "fcmi"] == ["n = 75", "n = 250"]
    epochs = rows(drawn["bounds-gap-epoch"])
    assert [row["epoch"] for row in epochs if row["line"] == "fcmi, n = 75"] == [10, 200]


def test_more_bounds_than_a_chart_can_hold_are_in_its_table():
    ids = (*BOUNDS, "a", "b", "c", "d")
    figure = over(ids=ids)["bounds-gap-n"]
    assert {row["line"] for row in rows(figure)} == {"fcmi", "ecmi", "ld", "gap"}
    assert "In the table alone: ld_flat, a, b, c, d." in figure.caption
    assert len(figure.table.header) == 4 + 8


def test_bounds_of_another_loss_are_not_drawn_beside_the_gap():
    note, report = changed(bounds_note(sizes=(75, 250)), ("bounds", "ecmi", "gap"), 0.5)
    for id in ("kl", "interp"):
        report["bounds"][id]["gap"] = 0.5
    drawn = over(note)
    assert "ecmi" not in {row["line"] for row in rows(drawn["bounds-gap-n"])}
    assert "In the table alone: ecmi" in drawn["bounds-gap-n"].caption
    assert [row["n"] for row in rows(drawn["bounds-risk-n"]) if row["seen"]] == [250]


def test_over_epochs_each_size_has_its_own_line():
    one = over(sizes=(75,), checkpoints=(10, 50, 200), ids=("fcmi", "ld"))
    assert list(one) == ["bounds-gap-epoch"]
    assert {row["line"] for row in rows(one["bounds-gap-epoch"])} == {"fcmi", "ld", "gap"}
    several = over(checkpoints=(1, 2), ids=("fcmi", "ld"))["bounds-gap-epoch"]
    sizes = {"n = 75", "n = 1,000", "n = 4,000"}
    assert {row["line"] for row in rows(several)} == {f"{of}, {n}" for n in sizes for of in ("fcmi", "gap")}
    assert "3 of 4 sizes are drawn" in several.caption and len(several.table.rows) == 8


def test_hundreds_of_epochs_are_thinned_and_it_is_said():
    figure = over(checkpoints=tuple(range(1, 401)), **MAIN)["bounds-gap-epoch"]
    epochs = [row["epoch"] for row in rows(figure) if row["line"] == "fcmi"]
    assert len(epochs) == len(figure.table.rows) == 100 and (epochs[0], epochs[-1]) == (1, 400)
    assert np.diff(epochs).min() >= 4 and np.diff(epochs).max() <= 5
    assert "300 epochs between those drawn are left out." in figure.caption


def test_vacuous_bounds_are_marked_by_shape_and_word():
    note = bounds_note(sizes=(75, 250), scale=30.0, ids=("fcmi", "kl"))
    drawn = over(note)
    for id in ("bounds-gap-n", "bounds-risk-n"):
        figure = drawn[id]
        bounds_rows = [row for row in rows(figure) if not row["seen"]]
        assert all(row["vacuous"] and row["shown"].endswith(", vacuous") for row in bounds_rows)
        assert rows(figure, "ceiling")[0]["word"] == "vacuous from here up"
        assert "triangle-up" in str(figure.spec["layer"]) and "vacuous" in figure.table.rows[0][2]
        assert "Hollow triangles: vacuous." in figure.caption
    assert all(row["word"].endswith(", vacuous") for row in rows(terms(last(note), [last(note)])))
    assert "All bounds are vacuous" in chapter(note).says
    few, report = changed(bounds_note(ids=("fcmi", "kl"), **ONE), ("bounds", "kl", "vacuous"), True)
    assert "kl: vacuous" in chapter(few).says and not report["bounds"]["fcmi"]["vacuous"]
    few["series"] += bounds_note(sizes=(250,), ids=("fcmi", "kl"))["series"]
    assert "vacuous" not in over(few)["bounds-gap-n"].caption


def test_terms_hold_information_chance_bound_and_what_was_seen():
    note = bounds_note(**ONE)
    report = note["series"][0]["report"]
    point = last(note)
    figure = terms(point, [point])
    for of_information, of_bound in zip(rows(information(point)), rows(figure), strict=True):
        bound = report["bounds"][of_bound["id"]]
        assert (of_information["value"], of_information["null"]) == (bound["information_mean"], bound["null_mean"])
        assert (of_bound["value"], of_bound["null"]) == (bound["value"], bound["null_value"])
        seen = np.mean(report["test_error"]) if of_bound["id"] in ("kl", "interp") else report["gap"]
        assert of_bound["seen"] == pytest.approx(seen, rel=1e-12)
    assert [row["id"] for row in rows(figure)] == list(BOUNDS)
    flat = next(row for row in figure.table.rows if row[0].startswith("ld_flat"))
    assert flat[2:4] == ("n/a", "n/a")


def test_bounds_come_in_the_order_of_the_family_whatever_the_note_says():
    note = bounds_note(ids=("zz", "interp", "ecmi", "fcmi"), **ONE)
    assert list(last(note).bounds) == ["fcmi", "ecmi", "interp", "zz"]


def test_subsets_of_pairs_are_named():
    note, _ = changed(bounds_note(ids=("ecmi",), **ONE), ("bounds", "ecmi", "m"), 2)
    assert information(last(note)).title == "Information of a subset of 2 pairs"
    says = chapter(note).says
    assert "The losses on 2 pairs tell" in says and "of 1.39 nats at most" in says


def test_spread_has_a_dot_for_each_supersample():
    note = bounds_note(**ONE)
    report = note["series"][0]["report"]
    figure = spread(last(note))
    found = {}
    for dot in rows(figure, "dots"):
        found.setdefault(dot["row"], []).append(dot["x"])
    assert found["fcmi"] == report["bounds"]["fcmi"]["per_supersample"]
    assert found["gap"] == pytest.approx(np.subtract(report["test_error"], report["train_error"]), rel=1e-12)
    assert "ld_flat" not in found and "One number of all supersamples: ld_flat." in figure.caption
    assert {mean["row"]: mean["x"] for mean in rows(figure, "means")}["ld_flat"] == report["bounds"]["ld_flat"]["value"]
    assert len(figure.table.rows) == 5 and "ld_flat" not in figure.table.header
    assert spread(last(bounds_note(K1=1, **MAIN))) is None


def test_a_flat_bound_alone_shows_the_spread_of_the_gap():
    figure = spread(last(bounds_note(ids=("ld_flat",), K1=3, **ONE)))
    assert "The gap of 3 supersamples lies between" in figure.caption
    assert {dot["row"] for dot in rows(figure, "dots")} == {"gap"}


def test_pairs_tell_what_most_runs_predict_with_and_without_each_sample():
    run = bounds_run(24)
    ids = run.rows["id"].to_pylist()
    note = bounds_note(**MAIN)
    note["pairs"] = [{
        "ids": [ids[5], "gone"], "labels": [4, 9], "information": np.log(2),
        "when_trained_on": [[[0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.75, 0, 0, 0, 0, 0.25]],
                            [[0, 0, 0, 0, 0.05, 0, 0, 0, 0, 0.95], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0]]],
    }]  # fmt: skip
    block = chapter(note, shown=run).pairs
    first, second = block.pairs[0].members
    assert (first.given, first.trained, first.left_out) == ("4", "4", "9")
    assert (first.trained_share, first.left_out_share) == ("100\N{NO-BREAK SPACE}%", "95.0\N{NO-BREAK SPACE}%")
    assert (second.trained, second.left_out, second.left_out_share) == ("9", "4", "75.0\N{NO-BREAK SPACE}%")
    assert (first.position, first.index, second.position) == (5, 5, None) and block.positions == [5]
    assert block.pairs[0].information == "0.693 nats" and "In 1 of these 1 pairs" in block.caption
    assert block.table.rows[0][0] == ids[5] and len(block.table.rows) == 2
    named = dataclasses.replace(run, manifest={"data": {"label_names": [f"class {c}" for c in range(10)]}},
                                rows=run.rows.drop_columns(["label", "label_name"]))  # fmt: skip
    assert chapter(note, shown=named).pairs.pairs[0].members[0].left_out == "class 9"
    assert chapter(bounds_note(**MAIN)).pairs is None


CASES = {
    "both, negative gap": {"sizes": (75, 250), "checkpoints": (10, 200), "gap": -0.01, "ids": ("fcmi",)},
    "one supersample, nothing found": {"K1": 1, "gap": 0.0, "scale": 0.0, **MAIN},
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_page_whose_pairs_open_their_samples(case, tmp_path):
    html = build(bounds_run(40, **CASES[case]), tmp_path / "a.html").read_text()
    part = html[html.index('<section id="bounds"') : html.index('<section id="believe"')]
    assert "It is not a certified bound." in part and "<h3>Warnings</h3>" in part
    assert len(re.findall(r'<div class="card" data-position="\d+">\s*<a href="#sample=\d+">', part)) == 24
    assert part.count("<figure") == part.count("<figcaption>") == len(re.findall(r'aria-label="[^"]+\."></div>', part))
    assert "Most and least revealing" in html


def test_hostile_ids_in_pairs_are_escaped(tmp_path):
    run = bounds_run(24, **MAIN)
    hostile = '"><script>window.hacked=1</script>\x00'
    run.noted["bounds"]["pairs"][0]["ids"] = [hostile, hostile]
    html = build(run, tmp_path / "a.html").read_text()
    assert "<script>window" not in html and "\x00" not in html and "␀" in html
