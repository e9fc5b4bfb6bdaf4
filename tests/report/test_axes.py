"""Axes: range, ticks, texts."""

import numpy as np
import pytest

from infotorch.report.axes import of_range, of_score
from infotorch.report.view import Score


def score(values, unit="nats"):
    return Score(name="s", values=np.asarray(values, float), unit=unit, kind="estimate", source="")


CASES = {
    "linear": np.linspace(0.2, 1.4, 50),
    "from zero": np.linspace(0, 1e-5, 50),
    "negative": np.linspace(-3, -1, 50),
    "log": np.geomspace(1e-7, 1e3, 50),
    "constant": np.full(5, 2.0),
    "zeros": np.zeros(5),
    "large": np.linspace(2e7, 9e7, 9),
}


@pytest.mark.parametrize("name", CASES)
def test_every_value_lies_within_the_range_and_some_ticks_too(name):
    axis = of_score(score(CASES[name]))
    assert axis.low < axis.high
    assert np.array_equal(axis.clip(CASES[name]), CASES[name]) and not axis.note
    assert 2 <= len(axis.ticks) <= 12
    assert len(set(axis.tick_texts)) == len(axis.ticks)


def test_small_linear_ticks_name_their_power_of_ten_in_the_title():
    axis = of_score(score(np.linspace(0, 2.4e-4, 50)))
    assert axis.heading == "S (10⁻⁶ nats)"
    assert axis.tick_texts == ["0", "50", "100", "150", "200"]


def test_logarithmic_ticks_are_powers_of_ten():
    assert of_score(score(np.geomspace(1e-7, 1e3, 50))).tick_texts[:2] == ["10⁻⁷", "10⁻⁶"]
    assert of_score(score(np.geomspace(2e-4, 0.02, 50))).tick_texts == ["0.0003", "0.001", "0.003", "0.01"]


def test_a_number_without_unit_has_a_bare_title():
    assert of_score(score(np.linspace(0, 1, 5), unit="1")).heading == "S"


def test_infinite_values_are_drawn_at_the_end_and_counted():
    axis = of_score(score([1, 2, 3, np.inf]))
    assert axis.clip(np.array([np.inf]))[0] == axis.high
    assert axis.note == "Beyond the axis, drawn at its end: 1."


def test_edges_are_equally_spaced_as_drawn():
    assert np.allclose(np.diff(np.log(of_score(score(CASES["log"])).edges(8)), 2), 0)
    assert np.allclose(np.diff(of_range(score([0, 1]), 0, 1).edges(8), 2), 0)
