"""Where jobs run: in this process, in processes of one's own, or in any executor."""

import concurrent.futures as futures
import contextlib
import os
import queue as queues
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import loky

from infotorch.bounds.grids.cells import Failure, failure_of
from infotorch.bounds.runs.sent_learner import keep, there_is, train_here, write_learner

__all__ = ["elsewhere", "here", "processes"]

J = TypeVar("J")
R = TypeVar("R")
Work = Callable[[J], R | Failure]
"""What is done with a job: it gives what came of it, a ``Failure`` where that is nothing, and doesn't raise."""
Outcomes = Generator[tuple[J, R | Failure], None, None]
"""Each job with what came of it. A consumer who appends to the queue in between has that done too."""
Future = futures.Future[Any]
DIED = "its process died, perhaps out of memory"


def here(queue: deque[J], learner: Work[J, R]) -> Outcomes[J, R]:
    """One after the other, in this process."""
    while queue:
        job = queue.popleft()
        yield job, learner(job)


def elsewhere(queue: deque[J], learner: Work[J, R], executor: futures.Executor) -> Outcomes[J, R]:
    """All at once in the user's executor, which decides on their order and on what a lost worker means."""
    running: dict[Future, J] = {}
    refused: deque[tuple[J, Failure]] = deque()
    finished: queues.SimpleQueue[Future] = queues.SimpleQueue()  # futures.wait waits for ever for a cancelled one
    try:
        while queue or running or refused:
            while queue:
                job = queue.popleft()
                try:
                    future = executor.submit(learner, job)
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


def _outcome(future: Future) -> Any:
    if future.cancelled():
        return Failure(reason="the executor cancelled it")
    error = future.exception()  # not the learner's: a worker that died, a result that can't be sent
    return future.result() if error is None else failure_of(error)


def processes(queue: deque[J], learner: Work[J, R], workers: int, timeout: float | None, file: Path) -> Outcomes[J, R]:
    """In ``workers`` processes; one that hangs or dies is replaced, and the jobs of the others are begun again.

    The learner is written to ``file``, which is gone afterwards: sent through pipes, a large one would be in memory
    twice more here, and once more in every process.

    A job is handed over when a worker is free for it, so its time runs from there. When a process dies, the executor
    can't say which job killed it: the ones that ran are run again one by one, and who dies alone is the one.
    """
    suspects: deque[J] = deque()
    running: dict[Future, tuple[J, float]] = {}
    alone = False
    crew = _Crew(file, workers, warm=timeout is not None)
    try:
        write_learner(learner, file)
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
        file.unlink(missing_ok=True)


class _Crew:
    """Worker processes, which are there from the first job to the end, and again from the next job on."""

    def __init__(self, file: Path, workers: int, *, warm: bool) -> None:
        self._file, self._workers, self._warm = file, workers, warm
        self._pool: loky.ProcessPoolExecutor | None = None

    @property
    def is_new(self) -> bool:
        """Whether the next job is the first of its processes."""
        return self._pool is None

    def submit(self, job: Any) -> Future:
        """Begins the job; where crews are warm every process has read the learner before the first one.

        Raises:
            BrokenExecutor: A process died, whether in this job's turn or in another's.
        """
        if self._pool is None:
            self._pool = loky.ProcessPoolExecutor(self._workers, initializer=keep, initargs=(self._file, os.getpid()))
            there: set[int] = set()
            while self._warm and len(there) < self._workers:
                there |= set(self._pool.map(there_is, range(self._workers)))
        return self._pool.submit(train_here, job)

    def end(self) -> None:
        """Ends the processes and what they started; those that are idle have nothing to lose."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(OSError):  # workers that are gone already
                pool.shutdown(wait=True, kill_workers=True)
