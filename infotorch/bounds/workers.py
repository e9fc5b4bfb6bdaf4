"""Where jobs run: in this process, in processes of one's own, or in any executor."""

import concurrent.futures as futures
import contextlib
import os
import pickle
import queue as queues
import threading
import time
from collections import deque
from collections.abc import Generator

import loky
from loky.backend import reduction

from infotorch import errors
from infotorch.bounds.cells import Failure, Job, Learner, Trained, failure_of, train

__all__ = ["elsewhere", "here", "processes"]

Outcomes = Generator[tuple[Job, Trained | Failure], None, None]
"""Each job with what came of it. A consumer who appends to the queue in between has that done too."""
Future = futures.Future[Trained | Failure]
WATCH = 1.0
"""Seconds between two looks of a worker whether its parent is alive."""
DIED = "its process died, perhaps out of memory"


def here(queue: deque[Job], learner: Learner) -> Outcomes:
    """One after the other, in this process."""
    while queue:
        job = queue.popleft()
        yield job, train(learner, job)


def elsewhere(queue: deque[Job], learner: Learner, executor: futures.Executor) -> Outcomes:
    """All at once in the user's executor, which decides on their order and on what a lost worker means."""
    running: dict[Future, Job] = {}
    refused: deque[tuple[Job, Failure]] = deque()
    finished: queues.SimpleQueue[Future] = queues.SimpleQueue()  # futures.wait waits for ever for a cancelled one
    try:
        while queue or running or refused:
            while queue:
                job = queue.popleft()
                try:
                    future = executor.submit(train, learner, job)
                except RuntimeError as error:  # it's broken, or shut down; what it has done is still to be had
                    refused.append((job, failure_of(error)))
                    continue
                running[future] = job
                future.add_done_callback(finished.put)
            if running:
                future = finished.get()
                yield running.pop(future), _outcome(future)
            else:
                yield refused.popleft()
    finally:
        for future in running:
            future.cancel()


def _outcome(future: Future) -> Trained | Failure:
    if future.cancelled():
        return Failure(reason="the executor cancelled it")
    error = future.exception()  # not the learner's: a worker that died, a result that can't be sent
    return future.result() if error is None else failure_of(error)


def processes(queue: deque[Job], learner: Learner, workers: int, timeout: float | None) -> Outcomes:
    """In ``workers`` processes; one that hangs or dies is replaced, and the jobs of the others are begun again.

    A job is handed over when a worker is free for it, so its time runs from there. When a process dies, the executor
    can't say which job killed it: the ones that ran are run again one by one, and who dies alone is the one.
    """
    suspects: deque[Job] = deque()
    running: dict[Future, tuple[Job, float]] = {}
    alone = False
    crew = _Crew(learner, workers, warm=timeout is not None)
    try:
        while queue or suspects or running:
            alone = alone and bool(running)
            while (queue or suspects) and not alone and len(running) < (1 if suspects else workers):
                alone = bool(suspects)
                job = suspects.popleft() if alone else queue.popleft()
                new = crew.is_new
                try:
                    future = crew.submit(job)
                except futures.BrokenExecutor:  # since the last wait; what runs is told of by its futures
                    if new:  # none of its processes lived long enough to get this job, the first
                        crew.end()
                        yield job, Failure(reason=DIED)
                    else:
                        (suspects if alone else queue).appendleft(job)
                    break
                running[future] = (job, time.monotonic())
            if not running:
                crew.end()
                continue
            left = None
            if timeout is not None:
                left = max(0.0, min(begun for _, begun in running.values()) + timeout - time.monotonic())
            done, _ = futures.wait(running, left, futures.FIRST_COMPLETED)
            dead = [future for future in done if isinstance(future.exception(), futures.BrokenExecutor)]
            for future in [each for each in running if each in done and each not in dead]:
                yield running.pop(future)[0], _outcome(future)
            now = time.monotonic()
            late = [f for f, (_, begun) in running.items() if timeout is not None and now - begun >= timeout]
            if dead:
                crew.end()
                jobs = [job for job, _ in running.values()]
                running.clear()
                if len(jobs) == 1:
                    yield jobs[0], Failure(reason=DIED)
                else:
                    suspects.extend(jobs)
            elif late:
                crew.end()
                hung = [running.pop(future)[0] for future in late]
                queue.extendleft(reversed([job for job, _ in running.values()]))
                running.clear()
                for job in hung:
                    yield job, Failure(reason=f"it took longer than timeout={timeout:g} s")
    finally:
        crew.end()


class _Crew:
    """Worker processes, which are there from the first job to the end, and again from the next job on."""

    def __init__(self, learner: Learner, workers: int, *, warm: bool) -> None:
        self._sent, self._workers, self._warm = _sent(learner), workers, warm
        self._pool: loky.ProcessPoolExecutor | None = None

    @property
    def is_new(self) -> bool:
        """Whether the next job is the first of its processes."""
        return self._pool is None

    def submit(self, job: Job) -> Future:
        """Begins the job; where crews are warm every process has read the learner before the first one.

        Raises:
            BrokenExecutor: A process died, whether in this job's turn or in another's.
        """
        if self._pool is None:
            self._pool = loky.ProcessPoolExecutor(self._workers, initializer=_keep, initargs=(self._sent, os.getpid()))
            there: set[int] = set()
            while self._warm and len(there) < self._workers:
                there |= set(self._pool.map(_there, range(self._workers)))
        return self._pool.submit(_train_here, job)

    def end(self) -> None:
        """Ends the processes and what they started; those that are idle have nothing to lose."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(OSError):  # workers that are gone already
                pool.shutdown(wait=True, kill_workers=True)


def _sent(learner: Learner) -> bytes:
    """The learner as every worker gets it: made once, and read by a worker at its first job, which can tell of it."""
    try:
        return bytes(reduction.dumps(learner))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise errors.ConfigError(
            f"run: the learner must be something that can be sent to another process; got {error}. "
            "Open files and connections inside of it, or set workers=1."
        ) from error


_unread: list[bytes] = []
_kept: list[Learner] = []
"""A worker process's learner: it is sent once, for it may hold the whole data."""


def _keep(sent: bytes, parent: int) -> None:
    _unread[:] = [sent]
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process when its parent is gone: killed, it can't tell, and a worker would wait for jobs for ever."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _there(_: int) -> int:
    """Which process this is, once it has read the learner."""
    _read()
    time.sleep(0.01)  # so that one process doesn't answer for all
    return os.getpid()


def _train_here(job: Job) -> Trained | Failure:
    return _read() or train(_kept[0], job)


def _read() -> Failure | None:
    if not _kept:
        try:
            _kept.append(pickle.loads(_unread[0]))
        except (Exception, SystemExit) as error:  # a module of the user's that raises when it is imported
            return failure_of(error, before="the learner can't be read in another process: ")
        _unread.clear()
    return None
