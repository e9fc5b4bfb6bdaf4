"""What comes of jobs: cells kept, failures tried again and named, and an estimate on the way."""

import pickle
from collections import deque

import numpy as np
import pytest

from infotorch import bounds
from infotorch.bounds.grids.cells import Failure, Job, Trained
from infotorch.bounds.grids.grid import begin, writers_folder
from infotorch.bounds.runs import collect
from infotorch.bounds.runs.collect import Collector, PredictionsError, RunError
from infotorch.errors import DataError

N = 20
PLAN = bounds.plan(N, 4, 2, 4, block=4)
LABELS = np.arange(N) % 2


def collector(path, retries=1, **options):
    own = writers_folder(path, "1-of-1")
    grid = begin(path, PLAN, labels=LABELS, num_classes=2, checkpoints=(), temporary=own)
    queue = deque()
    return Collector(grid, own, queue, retries, **options), queue


def job(k1, *k2):
    return Job(k1=k1, k2=k2, train=(), seeds=(), indices=np.arange(8))


def trained(*predictions):
    return Trained(predictions=list(predictions), seconds=1.0, versions="v")


GOOD, OUTSIDE = np.ones(8, int), np.full(8, 2)


def test_a_failed_job_is_tried_again_as_often_as_allowed(tmp_path):
    one, queue = collector(tmp_path, retries=2)
    for tries in (1, 2, 3):
        one.take(job(0, 1), Failure(reason="no", trace="at line 3"))
        assert len(queue) == min(tries, 2)
    one.take(job(0, 0), trained(GOOD))
    with pytest.raises(
        RunError, match=r"got 1 that failed each time: \(k1=0, k2=1\): no \(tried 3 times\)\. The others are kept: mend"
    ) as e:
        one.raise_failures()
    assert e.value.cells == {(0, 1): "no"} and e.value.traces == {(0, 1): "at line 3"}


def test_a_job_that_succeeds_in_the_end_is_no_failure(tmp_path):
    one, queue = collector(tmp_path)
    one.take(job(0, 1), Failure(reason="no"))
    one.take(queue.popleft(), trained(GOOD))
    one.raise_failures()
    assert one.num_new == 1 and one.grid.done()[0].tolist() == [False, True, False, False]


def test_predictions_that_are_none_are_not_tried_again_and_the_others_of_the_job_are_kept(tmp_path):
    one, queue = collector(tmp_path)
    one.take(job(1, 0, 1, 2), trained(GOOD, OUTSIDE, GOOD))
    assert not queue and one.grid.done()[1].tolist() == [True, False, True, False]
    with pytest.raises(DataError, match=r"labels must be from 0 to 1; got 2\. .* This was cell \(k1=1, k2=1\)\.$"):
        one.raise_failures()
    one.take(job(0, 0, 1), trained(OUTSIDE, OUTSIDE))
    with pytest.raises(RunError, match=r"This was cell \(k1=0, k2=0\), and 2 more are such\.$") as told:
        one.raise_failures()
    assert isinstance(told.value, ValueError) and list(told.value.cells) == [(0, 0), (0, 1), (1, 1)]
    again = pickle.loads(pickle.dumps(told.value))
    assert type(again) is PredictionsError and again.cells == told.value.cells and str(again) == str(told.value)


def test_a_cell_that_is_there_stays_as_it_is(tmp_path):
    one, _ = collector(tmp_path)
    one.take(job(0, 0), trained(GOOD))
    one.take(job(0, 0, 1), trained(0 * GOOD, 0 * GOOD))
    assert one.grid.read(0, 0).labels.all() and not one.grid.read(0, 1).labels.any() and one.num_new == 2


def test_failures_are_told_by_reason_and_five_of_them_are_shown(tmp_path):
    one, queue = collector(tmp_path)
    one.take(job(0, 0, 1, 2, 3), Failure(reason="no"))
    one.take(queue.popleft(), Failure(reason="no.", trace="at line 3"))
    one.take(job(1, 0, 1, 2), trained(OUTSIDE, Failure(reason="diverged", trace="at line 4"), GOOD))
    with pytest.raises(RunError) as told:
        one.raise_failures()
    assert not isinstance(told.value, DataError)
    listed = "4 cells, first (k1=0, k2=0): no (tried 2 times)"
    assert f"got 6 that failed each time: {listed}; (k1=1, k2=0): bounds: predicted labels must be" in str(told.value)
    assert "(tried once); (k1=1, k2=1): diverged (tried once). The others are kept" in str(told.value)
    assert list(told.value.cells) == [(0, k2) for k2 in range(4)] + [(1, 0), (1, 1)]
    assert told.value.cells[1, 1] == "diverged"
    traces = "\nIn cell (k1=0, k2=0):\nat line 3\nIn cell (k1=1, k2=1):\nat line 4"
    assert str(told.value.__cause__) == traces and told.value.traces[1, 1] == "at line 4"
    for k1, k2 in np.ndindex(2, 4):
        one.take(job(k1, k2), trained(Failure(reason=f"reason {k2}")))
    with pytest.raises(RunError, match=r"2 cells, first \(k1=0, k2=0\): reason 0 .* reason 3 \(tried once\)\. The oth"):
        one.raise_failures()


def test_reasons_beyond_the_fifth_are_counted(tmp_path):
    one, _ = collector(tmp_path, retries=0)
    for k1, k2 in np.ndindex(2, 4):
        one.take(job(k1, k2), Failure(reason=f"reason {(k1, k2)}"))
    with pytest.raises(RunError, match=r"reason \(1, 0\) \(tried once\); and 3 more\. The others are kept") as told:
        one.raise_failures()
    assert told.value.__cause__ is None and "reason (1, 1)" not in str(told.value) and len(told.value.cells) == 8


def test_no_more_is_held_than_the_note_needs(tmp_path):
    plain, _ = collector(tmp_path / "a")
    plain.take(job(0, 0, 1), trained(GOOD, GOOD))
    assert plain._kept is None and plain.note() == ""
    noted, _ = collector(tmp_path / "b", noted=True)
    noted.take(job(0, 0, 1), trained(GOOD, GOOD / 2))
    labels, losses = noted._kept[0, 0]
    assert (labels.dtype, labels.shape, labels.base, losses) == (np.int16, (4, 2), None, None)
    labels, losses = noted._kept[0, 1]
    assert (losses.dtype, losses.shape, losses.base, labels) == (np.float32, (4, 2), None, None)
    assert noted.note() == ""  # of labels and losses at once there is none


def test_the_note_is_the_estimate_so_far(tmp_path, monkeypatch):
    one, _ = collector(tmp_path, noted=True)
    monkeypatch.setattr(collect, "NOTED", 0.0)
    assert one.note() == ""
    pairs = PLAN.supersamples[1].reshape(-1)
    for k2 in range(4):
        trained_on = np.isin(pairs, PLAN.train_indices(1, k2))
        one.take(job(1, k2), trained(np.where(trained_on, LABELS[pairs], 1 - LABELS[pairs])))  # all memorised
    assert one.note() == f"bound ~{np.sqrt(2 * np.log(2)):.3g}, gap 1"
    monkeypatch.setattr(collect, "NOTED", 1e9)
    one.take(job(0, 0), trained(GOOD))
    assert one.note().startswith("bound ~1.18")  # not computed anew
