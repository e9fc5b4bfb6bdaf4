"""How a report reads."""

import dataclasses
import json

import numpy as np
import pytest

from infotorch import bounds
from infotorch.errors import ConfigError


@pytest.fixture
def report():
    masks = np.array([[[0, 1], [1, 0]]])
    predictions = np.array([[[[0, 1], [0, 0]], [[1, 1], [0, 0]]]])
    return bounds.from_predictions(predictions, masks, np.zeros((1, 2, 2), int), num_classes=2, bounds=["fcmi", "kl"])


def test_it_reads_line_by_line(report):
    """One of the two pairs tells its bit: the information is ln 2 / 2 on average, the bound half of sqrt(2 ln 2)."""
    lines = str(report).splitlines()
    assert lines[0] == "1×2 runs on n = 2 samples, 2 classes, balanced masks"
    assert lines[3].split() == ["fcmi", "0.5887", "n/a", "n/a", "0.5887", "0.3466", "0.3466"]
    assert lines[4].endswith("  vacuous")
    assert lines[5].split() == ["gap", "0.2500", "n/a", "n/a"]
    assert "This is an estimate of a bound from 1×2 runs. It is not a certified bound." in lines
    assert "fcmi bounds the expected gap over training sets, not the gap of this run." in lines
    assert max(map(len, lines)) <= 80


def test_it_promises_nothing(report):
    text = str(report).lower().replace("it is not a certified bound", "")
    assert not any(word in text for word in ("certified", "guarantee", "confidence"))


def test_it_reads_like_a_mapping(report):
    assert list(report) == ["fcmi", "kl"]
    assert "fcmi" in report and "ld" not in report
    with pytest.raises(ConfigError, match=r"a bound must be one of 'fcmi', 'kl'; got 'fcmj'. Did you mean 'fcmi'"):
        report["fcmj"]


def test_it_is_json(report):
    found = json.loads(json.dumps(report.as_dict()))
    assert found["bounds"]["fcmi"]["value"] == report["fcmi"].value
    assert found["bounds"]["fcmi"]["kind"] == "estimate"
    assert found["statement"] == report.statement


def test_runs_that_differ_by_supersample_are_told_one_by_one(report):
    assert dataclasses.replace(report, num_runs=(8, 7)).runs == "8 + 7"
