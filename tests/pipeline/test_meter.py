"""Seconds and resident memory of one call."""

import time

import pytest
import torch

from infotorch.pipeline import meter
from infotorch.pipeline.meter import measured, resident

SIZE = 1 << 26


@pytest.mark.skipif(resident() is None, reason="the system does not tell")
def test_the_peak_is_of_this_call_and_not_of_one_before():
    before = resident()
    large = measured(lambda: torch.ones(SIZE, dtype=torch.uint8).sum())
    small = measured(lambda: torch.ones(1))
    assert large.peak >= before + SIZE * 0.9
    assert small.peak < large.peak - SIZE * 0.5


def test_the_result_comes_with_its_seconds():
    cost = measured(lambda: time.sleep(0.02) or "done")
    assert cost.result == "done" and cost.seconds >= 0.02


def test_where_the_system_does_not_tell_memory_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(meter, "PROCESS", tmp_path / "nothing")
    assert resident() is None and measured(lambda: 1).peak is None


def given_back(monkeypatch, levels):
    """How often memory is handed back after parts that leave the process at these levels."""
    given, found = [], iter(levels)
    monkeypatch.setattr(meter, "resident", lambda: next(found))
    monkeypatch.setattr(meter, "give_back_memory", lambda: given.append(None))
    parts = meter.Parts()
    return [(parts.one_done(), len(given))[1] for _ in levels]


def test_memory_is_handed_back_where_it_piles_up(monkeypatch):
    first = 1 << 30
    most = first + meter.HELD
    assert given_back(monkeypatch, [first, most, most + 1, first, most + 1]) == [0, 0, 1, 1, 2]


def test_where_the_system_does_not_tell_memory_is_handed_back_each_time(monkeypatch):
    assert given_back(monkeypatch, [None, None]) == [1, 2]
