"""The chapters of the information in weights and activations."""

import dataclasses

import pytest

from infotorch.report.activations import activations
from infotorch.report.chapters import chapters
from infotorch.report.view import view
from infotorch.report.weights import weights
from tests.report.double import activations_note, digits_run, weights_note


def seen(function=weights, **changes):
    run = digits_run()
    notes = {"weights": weights_note() | changes, "activations": activations_note()}
    return function(view(dataclasses.replace(run, noted=notes)))


def test_a_run_without_the_notes_has_no_chapters():
    assert weights(view(digits_run())) is None and activations(view(digits_run())) is None


def test_the_curve_has_every_beta_and_the_bars_every_layer():
    note = weights_note()
    chapter = seen()
    curve, rise, layers = chapter.figures
    rows = curve.spec["datasets"]["rows"]
    nats = {row["beta"]: 10 ** row["y"] - 1 for row in rows if row["line"].startswith("information")}
    assert nats == pytest.approx(dict(zip(note["curve"]["beta"], note["curve"]["nats"], strict=True)))
    assert [mark["beta"] for mark in curve.spec["datasets"]["marks"]] == [note["beta"]]
    assert [row["value"] for row in rise.spec["datasets"]["rows"]] == [
        note["predicted_rise"] / note["num_samples"],
        note["measured_rise"] / note["num_samples"],
    ]
    assert sum(row["value"] for row in layers.spec["datasets"]["rows"]) == pytest.approx(100)
    assert [row[0] for row in layers.table.rows] == list(note["per_layer"])


def test_words_hold_the_numbers_and_say_where_the_model_fails():
    text = seen().says
    assert "182 ± 3 nats" in text and "0.303 a sample" in text and "about 58.7 directions are held" in text
    assert "predicted to raise the loss by 0.00489 nats a sample" in text and "it rose by 0.0150" in text
    assert "The quadratic model does not hold at this distance" in text
    assert "does not hold" not in seen(measured_rise=3.0).says
    unmeasured = seen(measured_rise=None)
    assert "nobody measured it" in unmeasured.says and len(unmeasured.figures) == 2
    assert "of each layer its own" in seen(prior_var={"0": 1.0, "2": 2.0}).says
    assert "no bound" in seen().does_not_say


def test_layers_of_activations_stand_in_the_order_of_the_forward():
    note = activations_note()
    chapter = seen(activations)
    depth, invariance = chapter.figures
    assert [row["row"] for row in depth.spec["datasets"]["rows"]] == [layer["name"] for layer in note["layers"]]
    drawn = {(row["row"], row["line"]): row["x"] for row in invariance.spec["datasets"]["rows"]}
    assert drawn[("0", "shift")] == note["layers"][0]["tangents"]["shift"]["index"]
    assert "from 41.2 nats at 0 to 9.10 nats at 2" in chapter.says and "the loss is 0.310 a sample" in chapter.says
    assert invariance.table.header == ("Layer", "rotation, index", "rotation, nats", "shift, index", "shift, nats")


def test_a_layer_without_an_index_is_a_gap():
    note = activations_note()
    note["layers"][0]["tangents"]["shift"] |= {"index": None, "undefined": 7}
    noted = {"activations": note}
    invariance = activations(view(dataclasses.replace(digits_run(), noted=noted))).figures[1]
    drawn = {(row["row"], row["line"]): row for row in invariance.spec["datasets"]["rows"]}
    assert drawn[("0", "shift")]["x"] is None and "name" not in drawn[("0", "shift")]
    assert [row["line"] for row in drawn.values() if "name" in row] == ["rotation", "shift"]
    assert "A gap at 0: nothing of the input is told there" in invariance.caption
    assert invariance.table.rows[0][3] == "none"


def test_a_change_that_nobody_sees_has_gaps_alone():
    note = activations_note()
    for layer in note["layers"]:
        layer["tangents"] = {"shift": {"index": None, "undefined": 600, "nats": 0.0}}
    invariance = activations(view(dataclasses.replace(digits_run(), noted={"activations": note}))).figures[1]
    assert [row["x"] for row in invariance.spec["datasets"]["rows"]] == [None, None]


def test_the_beta_axis_has_ticks_within_a_decade():
    note = weights_note()
    note["curve"] = {"beta": [0.2, 0.5], "nats": [2.0, 1.0], "logdet": [1.0, 0.5], "d_eff": [2.0, 1.5]}
    note["beta"] = 0.3
    curve = weights(view(dataclasses.replace(digits_run(), noted={"weights": note}))).figures[0]
    axis = curve.spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis.get("values") is None and axis["tickCount"] == 5


def test_one_layer_without_tangents_is_drawn():
    note = activations_note()
    layer = note["layers"][0] | {"tangents": {}}
    found = activations(
        view(dataclasses.replace(digits_run(), noted={"activations": note | {"layers": [layer], "loss": None}}))
    )
    assert len(found.figures) == 1 and "a median of 41.2 nats at 0 of a jitter" in found.says


def test_chapters_come_in_their_order():
    run = digits_run()
    noted = {"activations": activations_note(), "weights": weights_note()}
    assert [each.id for each in chapters(view(dataclasses.replace(run, noted=noted)))] == ["weights", "activations"]
