"""A learner reaches another process whole, once, or it is said why not."""

import pathlib
import re

import numpy as np
import pytest

from infotorch.bounds.grids.cells import Job, Learner
from infotorch.bounds.runs import sent_learner, workers
from infotorch.errors import StoreError
from tests.bounds.small_grids import made


def job(k2):
    return Job(k1=0, k2=(k2,), train=(np.arange(3),), seeds=(k2,), indices=np.arange(6))


def learner(train_fn):
    return Learner(train_fn=train_fn, ensemble=None, threads=1)


def lost():
    raise ImportError("no such module here")


class Unreadable:
    """Can be sent and not be read."""

    def __reduce__(self):
        return lost, ()


def unread(monkeypatch, tmp_path, train_fn):
    sent_learner.write_learner(learner(train_fn), tmp_path / "learner")
    monkeypatch.setattr(sent_learner, "_unread", [tmp_path / "learner"])
    monkeypatch.setattr(sent_learner, "_kept", [])


def test_a_learner_that_cannot_be_read_says_so_at_every_job(monkeypatch, tmp_path):
    unread(monkeypatch, tmp_path, Unreadable())
    for k2 in (0, 1):
        told = sent_learner.train_here(job(k2)).reason
        assert told == "the learner can't be read in another process: ImportError: no such module here"


def test_a_learner_is_read_once(monkeypatch, tmp_path):
    unread(monkeypatch, tmp_path, lambda train, seed, extra: lambda asked: asked)
    for k2 in (0, 1):
        assert sent_learner.train_here(job(k2)).predictions[0].tolist() == list(range(6))
    assert not sent_learner._unread and len(sent_learner._kept) == 1


def test_a_learner_that_has_no_room_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere/learner must be written; got 'no such file or directory' from"):
        sent_learner.write_learner(learner(None), tmp_path / "nowhere" / "learner")


begun = []


def keep_and_note(file, parent):
    begun.append(peak())
    sent_learner.keep(file, parent)


def peak():
    """The most bytes that this process had in memory; getrusage would tell the most of its parent too."""
    return 2**10 * int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])


class Rise:
    """Predicts how much its process has grown since it began, over four times the learner's size."""

    def __init__(self, size):
        self.array = np.ones(size, np.uint8)

    def __call__(self, train, seed, extra):
        rise = (peak() - begun[0]) / len(self.array)
        return lambda asked: np.full(len(asked), rise / 4)


def test_a_large_learner_is_in_a_process_once(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "keep", keep_and_note)
    grid = made(tmp_path, K1=1, K2=2, block=2, workers=1, timeout=60.0, train_fn=Rise(2**27))
    assert 0.9 < 4 * float(grid.read(0, 0).losses.max()) < 1.5
