"""Where jobs run: in this process, in processes of one's own, or in any executor."""

import concurrent.futures as futures
import contextlib
import pickle
import time
from collections import deque
from collections.abc import Generator

import loky

from infotorch import errors
from infotorch.bounds.cells import Failure, Job, Learner, Trained, train

__all__ = ["elsewhere", "here", "processes"]

Outcomes = Generator[tuple[Job, Trained | Failure], None, None]
"""Each job with what came of it. A consumer who appends to the queue in between has that done too."""


def here(queue: deque[Job], learner: Learner) -> Outcomes:
    """One after the other, in this process."""
    while queue:
        job = queue.popleft()
        yield job, train(learner, job)


def elsewhere(queue: deque[Job], learner: Learner, executor: futures.Executor) -> Outcomes:
    """All at once in the user's executor, which decides on their order and on what a lost worker means."""
    running: dict[futures.Future[Trained | Failure], Job] = {}
    try:
        while queue or running:
            while queue:
                job = queue.popleft()
                running[executor.submit(train, learner, job)] = job
            done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), _outcome(future)
    finally:
        for future in running:
            future.cancel()


def _outcome(future: "futures.Future[Trained | Failure]") -> Trained | Failure:
    try:
        return future.result()
    except futures.CancelledError:
        return Failure(reason="the executor cancelled it")
    except Exception as error:  # an executor's own: a worker that died, a result that can't be sent
        return Failure(reason=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")


def processes(queue: deque[Job], learner: Learner, workers: int, timeout: float | None) -> Outcomes:
    """In ``workers`` processes; one that hangs or dies is replaced, and the jobs of the others are begun again.

    A job is handed over when a worker is free for it, so its time runs from there. When a process dies, the executor
    can't say which job killed it: the ones that ran are run again one by one, and who dies alone is the one.
    """
    suspects: deque[Job] = deque()
    running: dict[futures.Future[Trained | Failure], tuple[Job, float]] = {}
    alone = False
    pool = _pool(learner, workers)
    try:
        while queue or suspects or running:
            alone = alone and bool(running)
            while (queue or suspects) and not alone and len(running) < (1 if suspects else workers):
                alone = bool(suspects)
                job = suspects.popleft() if alone else queue.popleft()
                running[_sent(pool, job)] = (job, time.monotonic())
            left = None
            if timeout is not None:
                left = max(0.0, min(begun for _, begun in running.values()) + timeout - time.monotonic())
            done, _ = futures.wait(running, left, futures.FIRST_COMPLETED)
            dead = [future for future in done if isinstance(future.exception(), futures.BrokenExecutor)]
            for future in done:
                if future not in dead:
                    yield running.pop(future)[0], _outcome(future)
            now = time.monotonic()
            late = [f for f, (_, begun) in running.items() if timeout is not None and now - begun >= timeout]
            if dead:
                jobs = [job for job, _ in running.values()]
                running.clear()
                pool = _replaced(pool, learner, workers)
                if len(jobs) == 1:
                    yield jobs[0], Failure(reason="its process died, perhaps out of memory")
                else:
                    suspects.extend(jobs)
            elif late:
                hung = [running.pop(future)[0] for future in late]
                queue.extendleft(reversed([job for job, _ in running.values()]))
                running.clear()
                pool = _replaced(pool, learner, workers)
                for job in hung:
                    yield job, Failure(reason=f"it took longer than timeout={timeout:g} s")
    finally:
        pool.shutdown(wait=True, kill_workers=bool(running))


def _pool(learner: Learner, workers: int) -> loky.ProcessPoolExecutor:
    return loky.ProcessPoolExecutor(workers, initializer=_keep, initargs=(learner,))


def _sent(pool: loky.ProcessPoolExecutor, job: Job) -> "futures.Future[Trained | Failure]":
    try:
        return pool.submit(_train_here, job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise errors.ConfigError(
            f"run: the learner must be something that can be sent to another process; got {error}. "
            "Open files and connections inside of it, or set workers=1."
        ) from error


def _replaced(pool: loky.ProcessPoolExecutor, learner: Learner, workers: int) -> loky.ProcessPoolExecutor:
    with contextlib.suppress(OSError):  # workers that are gone already
        pool.shutdown(wait=True, kill_workers=True)
    return _pool(learner, workers)


_kept: list[Learner] = []
"""A worker process's learner: it is sent once, for it may hold the whole data."""


def _keep(learner: Learner) -> None:
    _kept[:] = [learner]


def _train_here(job: Job) -> Trained | Failure:
    return train(_kept[0], job)
