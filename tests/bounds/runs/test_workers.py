"""Own processes and executors: deaths, hangs, interrupts and restarts leave the same cells as one process."""

import concurrent.futures as futures
import contextlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from unittest import mock

import numpy as np
import pytest

from infotorch import bounds
from infotorch.bounds.grids.cells import Failure, Job, Learner
from infotorch.bounds.grids.grid import read_grid
from infotorch.bounds.runs import workers
from infotorch.bounds.runs.collect import RunError
from infotorch.errors import ConfigError
from tests.bounds.small_grids import made, nearest, slow, threshold_pool

HOUSE = pathlib.Path(__file__).parents[3]
SLOW = """
import json, sys
from tests.bounds.small_grids import made, slow
made(sys.argv[1], train_fn=slow, **json.loads(sys.argv[2]))
"""


def cells_of(grid):
    """What matters of every cell: its arrays' bytes."""
    return {
        (k1, k2): grid.read(k1, k2).labels.tobytes()
        for k1 in range(grid.plan.K1)
        for k2 in range(grid.plan.K2)
        if grid.done()[k1, k2]
    }


def waited(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


def session(leader):
    """Processes of the leader's session that aren't dead."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(folder.name))
    return found


@contextlib.contextmanager
def beside(folder, **options):
    """The run in a process and a session of its own, of which nobody is left afterwards."""
    command = [sys.executable, "-c", SLOW, str(folder), json.dumps(options)]
    run = subprocess.Popen(
        command, cwd=HOUSE, start_new_session=True, stderr=subprocess.DEVNULL, env=os.environ | {"PAUSE": "0.15"}
    )
    try:
        yield run
    finally:
        for left in {run.pid, *session(run.pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        run.wait()


def test_a_run_killed_at_any_moment_goes_on_to_the_same_report(tmp_path):
    """Killed outright with two workers, then finished by one: nothing tells, and nobody stays."""
    folder = tmp_path / "killed"

    def there():
        return len(list(folder.glob("cells/*/*.npz")))

    with beside(folder, workers=2, probe=True) as run:
        waited(there)
        assert len(session(run.pid)) > 2
        run.kill()
        assert run.wait(30) == -signal.SIGKILL
        waited(lambda: not session(run.pid))
    assert 0 < there() < 16
    grid, whole = (made(path, train_fn=slow, probe=True) for path in (folder, tmp_path / "whole"))
    assert cells_of(grid) == cells_of(whole)
    assert str(bounds.estimate(folder)) == str(bounds.estimate(whole))


def test_an_interrupt_leaves_no_process_behind(tmp_path):
    """The second cell interrupts the run and goes on for ever."""
    parent, trace = os.getpid(), tmp_path / "pid"

    def train_fn(train, seed, extra):
        if extra.k2 == 1:
            trace.write_text(str(os.getpid()))
            os.kill(parent, signal.SIGINT)
            time.sleep(600)
        return nearest(*threshold_pool())(train, seed, extra)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "runs", K1=1, train_fn=train_fn, workers=1, timeout=300.0)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # what was killed is gone once it is waited for, which takes a moment on a busy machine
            os.kill(int(trace.read_text()), 0)
            time.sleep(0.1)
    assert read_grid(tmp_path / "runs").done()[0].tolist() == [True] + [False] * 7


def test_cells_that_raise_hang_or_die_are_tried_again_and_named_and_the_others_go_on(tmp_path):
    inner = nearest(*threshold_pool())
    sick = tmp_path / "sick"
    sick.mkdir()

    def first(name):
        flag = sick / name
        there = flag.exists()
        flag.touch()
        return not there

    def train_fn(train, seed, extra):
        if extra.k2 == 1 and first("raised"):
            raise ValueError("not today")
        if extra.k2 == 2:
            raise ValueError(f"never on cell {extra.k2}")
        if extra.k2 == 4 and first("left"):
            os._exit(3)
        if extra.k2 == 6:
            time.sleep(600)
        return inner(train, seed, extra)

    with pytest.raises(
        RunError, match=r"run: every cell must train; got 2 that failed each time: \(k1=0, k2=2\):"
    ) as told:
        made(tmp_path / "runs", K1=1, K2=8, train_fn=train_fn, workers=1, timeout=1.0)
    assert told.value.cells == {
        (0, 2): "ValueError: never on cell 2", (0, 6): "it took longer than timeout=1 s"
    }  # fmt: skip
    assert list(told.value.traces) == [(0, 2)] and "in train_fn" in told.value.traces[0, 2]
    assert "The others are kept" in str(told.value)
    assert sorted(flag.name for flag in sick.iterdir()) == ["left", "raised"]
    again = pickle.loads(pickle.dumps(told.value))
    assert str(again) == str(told.value) and again.cells == told.value.cells
    grid = read_grid(tmp_path / "runs")
    assert np.flatnonzero(~grid.done()[0]).tolist() == [2, 6]
    whole = made(tmp_path / "runs", K1=1, K2=8)
    assert cells_of(whole) == cells_of(made(tmp_path / "whole", K1=1, K2=8))


class Mortal(futures.Executor):
    """A pool that a deadly cell takes down with all that runs in it."""

    deadly = (1, 4)

    def __init__(self, workers, **_):
        self.running, self.lock = {}, threading.Lock()

    def submit(self, fn, job):
        future = futures.Future()
        self.running[future] = job.k2[0]
        threading.Timer(0.01 if job.k2[0] in self.deadly else 0.1, self.finish, [future]).start()
        return future

    def finish(self, future):
        with self.lock:
            if self.running.get(future) in self.deadly:
                for each in self.running:
                    each.set_exception(futures.BrokenExecutor("gone"))
                self.running = {}
            elif future in self.running:
                future.set_result(self.running.pop(future))

    def shutdown(self, wait, kill_workers):
        assert wait and kill_workers


def test_of_those_that_ran_when_a_process_died_only_the_one_that_dies_alone_is_blamed(monkeypatch, tmp_path):
    pools = []
    monkeypatch.setattr(
        workers.loky,
        "ProcessPoolExecutor",
        lambda *args, **options: pools.append(Mortal(*args, **options)) or pools[-1],
    )
    outcomes = list(workers.processes(deque(map(job, range(6))), learner(None), 3, None, tmp_path / "x"))
    said = {each.k2[0]: outcome for each, outcome in outcomes}
    died = Failure(reason="its process died, perhaps out of memory")
    assert len(outcomes) == 6 and said == {0: 0, 1: died, 2: 2, 3: 3, 4: died, 5: 5}
    # 0, 1, 2 together; 0 and 1 alone; 2 alone, then 3, 4, 5 together; 3 and 4 alone; 5 alone
    assert len(pools) == 5 and not list(tmp_path.iterdir())


class Gone(futures.Executor):
    """The first pool is gone when its first job is done; the others' end is told when the next is handed over."""

    def __init__(self, pools, begins):
        pools.append(self)
        self.running, self.begins, self.first = [], begins, len(pools) == 1

    def map(self, fn, jobs):
        if not self.begins:
            raise futures.BrokenExecutor("no process lives")
        return jobs

    def submit(self, fn, job):
        if self.first and len(self.running) == 3:
            for each in self.running[1:]:
                each.set_exception(futures.BrokenExecutor("gone"))
            raise futures.BrokenExecutor("gone")
        self.running.append(futures.Future())
        if not self.first or not job.k2[0]:
            self.running[-1].set_result("done")
        return self.running[-1]

    def shutdown(self, wait, kill_workers):
        assert wait and kill_workers


@pytest.fixture(params=[True])
def pools(request, monkeypatch):
    made = []
    monkeypatch.setattr(workers.loky, "ProcessPoolExecutor", lambda *args, **options: Gone(made, request.param))
    return made


def test_a_pool_that_breaks_between_two_waits_loses_no_job(pools, tmp_path):
    outcomes = list(workers.processes(deque(map(job, range(6))), learner(None), 3, None, tmp_path / "x"))
    assert sorted((each.k2[0], outcome) for each, outcome in outcomes) == [(k2, "done") for k2 in range(6)]
    assert len(pools) == 2 and len(pools[0].running) == 3


@pytest.mark.parametrize("pools", [False], indirect=True)
def test_jobs_whose_processes_do_not_begin_are_told_of(pools, tmp_path):
    outcomes = list(workers.processes(deque(map(job, range(3))), learner(None), 2, 60.0, tmp_path / "x"))
    assert [(each.k2[0], outcome.reason) for each, outcome in outcomes] == [(k2, workers.DIED) for k2 in range(3)]
    assert len(pools) == 3


def job(k2):
    return Job(k1=0, k2=(k2,), train=(np.arange(3),), seeds=(k2,), indices=np.arange(6))


def learner(train_fn):
    return Learner(train_fn=train_fn, ensemble=None, threads=1)


def test_a_learner_that_cannot_be_sent_is_refused_before_anything_starts(tmp_path):
    lock = threading.Lock()
    with pytest.raises(
        ConfigError, match=r"run: the learner must be something that can be sent .*; got .*lock.*worker"
    ):
        made(tmp_path, train_fn=lambda train, seed, extra: lock, workers=2)
    assert not list(tmp_path.glob("cells/*/*")) and not list(tmp_path.glob("**/*.tmp"))


def test_any_executor_gives_the_same_cells(tmp_path):
    with futures.ThreadPoolExecutor(3) as pool:
        found = made(tmp_path / "threads", probe=True, workers=None, executor=pool)
    whole = made(tmp_path / "here", probe=True)
    assert cells_of(found) == cells_of(whole)
    assert str(bounds.estimate(found)) == str(bounds.estimate(whole))


class Broken(futures.Executor):
    """Takes a few jobs, loses some of them, and takes no more."""

    def __init__(self, takes):
        self.takes = takes

    def submit(self, fn, /, *args, **options):
        self.takes -= 1
        if self.takes < 0:
            raise futures.BrokenExecutor("all workers are gone")
        future = futures.Future()
        if self.takes == 1:
            future.set_exception(futures.BrokenExecutor("a worker is gone"))
        elif self.takes == 0:
            future.cancel()
        else:
            future.set_result(fn(*args, **options))
        return future


def test_a_broken_executor_is_told_of_and_what_it_did_is_kept(tmp_path):
    with pytest.raises(RunError) as told:
        made(tmp_path, K1=1, K2=8, workers=None, executor=Broken(6), retries=0)
    reasons = [told.value.cells[0, k2] for k2 in range(4, 8)]
    gone = "BrokenExecutor: all workers are gone"
    assert reasons == ["BrokenExecutor: a worker is gone", "the executor cancelled it", gone, gone]
    assert read_grid(tmp_path).done()[0].tolist() == [True] * 4 + [False] * 4


def test_a_run_that_ends_takes_its_jobs_back():
    executor = futures.ThreadPoolExecutor(1)
    go = threading.Event()
    outcomes = workers.elsewhere(
        deque(job(k2) for k2 in range(5)), learner(lambda train, seed, extra: lambda asked: go.wait(30)), executor
    )
    threading.Timer(0.1, go.set).start()
    next(outcomes)
    outcomes.close()
    executor.shutdown()
    with pytest.raises(StopIteration):
        next(outcomes)


def test_dask_loses_a_worker_and_no_run(tmp_path):
    """A cluster of two processes, one of them killed while it trains."""
    distributed = pytest.importorskip("distributed", reason="no distributed: it comes with the dask extra")
    inner = nearest(*threshold_pool())
    trace = tmp_path / "pids"
    trace.mkdir()

    def train_fn(train, seed, extra):
        (trace / str(os.getpid())).touch()
        time.sleep(0.1)
        return inner(train, seed, extra)

    killed = []

    def kill_one(stage, done, total, note):
        if not killed and done >= 3:
            killed.append(int(next(trace.iterdir()).name))
            os.kill(killed[0], signal.SIGKILL)

    with (
        mock.patch.dict(os.environ),  # a nanny sets the number of threads there, for all that comes after
        distributed.LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None, silence_logs=50,
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        found = made(
            tmp_path / "dask-runs", train_fn=train_fn, workers=None, executor=client.get_executor(), retries=0,
            progress=kill_one, probe=True,
        )  # fmt: skip
    assert killed and len(list(trace.iterdir())) >= 2
    whole = made(tmp_path / "whole", probe=True)
    assert cells_of(found) == cells_of(whole)
    assert str(bounds.estimate(found)) == str(bounds.estimate(whole))
