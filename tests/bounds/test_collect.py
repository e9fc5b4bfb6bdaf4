"""What comes of jobs: cells kept, failures tried again and named, and an estimate on the way."""

from collections import deque

import numpy as np
import pytest

from infotorch import bounds
from infotorch.bounds import collect
from infotorch.bounds.cells import Failure, Job, Trained
from infotorch.bounds.collect import Collector, RunError
from infotorch.bounds.grid import begin, writers_folder
from infotorch.errors import DataError

N = 20
PLAN = bounds.plan(N, 4, 2, 4, block=4)
LABELS = np.arange(N) % 2


def collector(path, retries=1):
    own = writers_folder(path, "1-of-1")
    grid = begin(path, PLAN, labels=LABELS, num_classes=2, checkpoints=(), temporary=own)
    queue = deque()
    return Collector(grid, own, queue, retries), queue


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
        RunError, match=r"got 1 that failed 3 times: \(k1=0, k2=1\): no\. The others are kept: mend"
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
    with pytest.raises(DataError, match=r"labels must be from 0 to 1; got 2\. .* This was cell \(k1=1, k2=1\)\."):
        one.raise_failures()


def test_a_cell_that_is_there_stays_as_it_is(tmp_path):
    one, _ = collector(tmp_path)
    one.take(job(0, 0), trained(GOOD))
    one.take(job(0, 0, 1), trained(0 * GOOD, 0 * GOOD))
    assert one.grid.read(0, 0).labels.all() and not one.grid.read(0, 1).labels.any() and one.num_new == 2


def test_three_lost_jobs_and_no_cell_say_that_it_is_the_learner(tmp_path):
    one, _ = collector(tmp_path, retries=0)
    for k2 in range(3):
        assert not one.hopeless
        one.take(job(0, k2), Failure(reason="no"))
    assert one.hopeless
    with pytest.raises(RunError, match=r"got 3 that failed 1 times: .*\. The others weren't tried: mend"):
        one.raise_failures()
    other, _ = collector(tmp_path / "b", retries=0)
    other.take(job(0, 0, 1, 2, 3), Failure(reason="no"))  # one job of many cells
    assert not other.hopeless
    other.take(job(1, 0), trained(GOOD))
    for k2 in (1, 2, 3):
        other.take(job(1, k2), Failure(reason="no"))
    assert not other.hopeless
    with pytest.raises(
        RunError, match=r"got 7 that failed 1 times: (\(k1=\d, k2=\d\): no; ){5}and 2 more\. The others are"
    ):
        other.raise_failures()


def test_the_note_is_the_estimate_so_far(tmp_path, monkeypatch):
    one, _ = collector(tmp_path)
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
