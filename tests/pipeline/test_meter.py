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
