"""Trains the cells of a plan that are missing."""

import concurrent.futures as futures
import os
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infotorch import errors
from infotorch.bounds.ensembles.ensemble import NetworkEnsemble
from infotorch.bounds.grids import grid as grids
from infotorch.bounds.grids.cells import Ensemble, Job, Learner, TrainFn, ensemble_size_of
from infotorch.bounds.grids.duplicates import check_items, warn_of_duplicates
from infotorch.bounds.grids.grid import MOST_CLASSES, Grid
from infotorch.bounds.grids.plan import Plan
from infotorch.bounds.grids.probe import probe_jobs, read_probe
from infotorch.bounds.learners.huggingface_learner import HuggingFaceLearner
from infotorch.bounds.learners.learner_digest import digest_of_learner
from infotorch.bounds.learners.sklearn_learner import SklearnLearner
from infotorch.bounds.learners.torch_learner import TorchLearner
from infotorch.bounds.runs.collect import Collector
from infotorch.bounds.runs.workers import elsewhere, here, processes
from infotorch.store.files import TEMPORARY, locked

__all__ = ["run"]

Progress = Callable[[str, int, int, str], None]
"""``(stage, done, total, note)``; the note holds the running estimate."""


def run(
    plan: Plan,
    train_fn: TrainFn | None,
    out: str | Path,
    *,
    labels: Any,
    num_classes: int | None = None,
    workers: int | None = None,
    executor: futures.Executor | None = None,
    ensemble: Ensemble | None = None,
    ensemble_size: int | None = None,
    checkpoints: Sequence[int] | None = None,
    items: Any = None,
    shard: tuple[int, int] = (1, 1),
    timeout: float | None = None,
    retries: int = 1,
    threads: int = 1,
    probe: bool = True,
    progress: Progress | None = None,
) -> Grid:
    """Trains every cell of the plan that isn't on disk yet, and keeps its predictions.

    A cell is there whole or not at all: after any kill, the same call trains what is missing, and estimates are the
    same bits whatever the number of workers. Every run has the same number of threads for this, and its generators
    (Python's, NumPy's, torch's) start from its seed. A cell keeps which learner made it (a digest of its code and
    options), so a grid that another one, or other threads, went on with is told of by every estimate.

    The learner is tried besides (``probe``): trained again on the first cell, and on that cell's test samples. Where
    the first differs it isn't deterministic in its seed, where the second doesn't it may ignore its indices; both are
    warned of, and told by every estimate.

    Args:
        plan: What ``infotorch.bounds.plan`` gave.
        train_fn: ``train_fn(train_indices, seed, extra) -> predict_fn`` with int64 [n] places in the pool; then
            ``predict_fn(indices)`` gives the predicted labels of the indices [M], ints from 0 to C - 1, or losses in
            [0, 1] in floating point, or both as a tuple; floats that are all 0 or 1 are losses too, which is warned of,
            for they might be labels. ``extra`` has ``k1``, ``k2``, ``checkpoints`` and ``probe``.
            May be ``None`` where there is an ensemble, which is used in its place.
        out: Folder of the grid: new, empty, or begun with this pool and this plan, or one of another K1 or K2: what
            both have in common is kept.
        labels: int [pool_size], the true labels of the pool.
        num_classes: C, at least 2; default the largest label and one.
        workers: Processes; default one a core. 1 trains in this process, where nothing needs to be sent.
        executor: Any ``concurrent.futures.Executor`` in place of own processes: Dask's, MPI's, Ray's. The learner is
            sent with each job, so let it read large data where it runs.
        ensemble: ``ensemble([(train_indices, seed), …], indices) -> [E, M]``: trains many cells at once
            (``mlp_ensemble``, ``conv_ensemble``, ``vmap_ensemble``).
        ensemble_size: Cells of one call; default that of the runs that are there, and all K2 of a supersample where
            there are none.
        checkpoints: Numbers of epochs after which predictions are kept; these are [T, M] then.
        items: [pool_size, ...], the pool's inputs (a list of texts is one too), where equal ones are to be found: with
            an item in both columns of a supersample, membership is undefined, which is warned of. Default: the ``x`` of
            ``torch_learner``, ``sklearn_learner`` and the ready ensembles.
        shard: (i, N): do only each N-th cell, beginning with the i-th, counted from 1: for array jobs on one folder.
            Where an ensemble trains, each N-th of its groups of ensemble_size cells; N is at most their number.
        timeout: Seconds after which a job of an own process is given up; a process's start doesn't count.
        retries: How often a cell that fails is tried again.
        threads: Threads of one worker.
        probe: Try the learner as said above.
        progress: Called with ``(stage, done, total, note)``.

    Returns:
        The grid, for ``estimate``.

    Raises:
        ConfigError: An option is out of range.
        DataError: Labels aren't what they must be.
        RunError: Cells failed, each as often as allowed; the others are on disk. Its ``cells`` names them all. Where
            it's because of their predictions alone, it is a ``DataError`` too.
        StoreError: The folder holds something else, another process is training into it, or the system refuses.
    """
    labels, num_classes = _labels(labels, plan, num_classes)
    _check_labels_of(train_fn if ensemble is None else ensemble, labels)
    marks = _checkpoints(checkpoints)
    _check(train_fn, ensemble, ensemble_size, workers, executor, timeout, retries, threads)
    size = 1 if ensemble is None else min(ensemble_size or _size_there(out) or plan.K2, plan.K2)
    index, count = _shard(shard, groups=plan.K1 * -(-plan.K2 // size))
    items = _items_of(train_fn if ensemble is None else ensemble) if items is None else items
    if items is not None:
        check_items(plan, items)
    learner = Learner(
        train_fn=train_fn,
        ensemble=ensemble,
        threads=threads,
        ensemble_size=size,
        digest=digest_of_learner(train_fn if ensemble is None else ensemble),
    )
    own = grids.writers_folder(out, f"{index}-of-{count}")
    with locked(own):
        grid = grids.begin(out, plan, labels=labels, num_classes=num_classes, checkpoints=marks, temporary=own)
        queue, total = _jobs(grid, size, index, count)
        if items is not None and queue:
            warn_of_duplicates(plan, items)
        if queue:
            _warn_of_another(grid, learner)
        done = total - sum(len(job.k2) for job in queue)
        if probe and index == 1 and read_probe(grid) is None:
            queue.extendleft(reversed(probe_jobs(grid, together=ensemble is not None)))
        collector = Collector(grid, own, queue, retries, noted=progress is not None)
        if executor is not None:
            outcomes = elsewhere(queue, learner, executor)
        elif not queue or (workers == 1 and timeout is None):
            outcomes = here(queue, learner)
        else:
            file = (own / ("learner" + TEMPORARY)).absolute()
            outcomes = processes(queue, learner, min(workers or _cores(), len(queue)), timeout, file)
        with closing(outcomes):
            for job, outcome in outcomes:
                collector.take(job, outcome)
                if progress is not None:
                    progress("training runs", done + collector.num_new, total, collector.note())
    collector.raise_failures()
    return grid


def _size_there(out: str | Path) -> int | None:
    """Cells that were trained together before: other groups may round otherwise, and train again what is there."""
    if not grids.is_begun(out):
        return None
    versions = _versions_there(grids.read_grid(out))
    return None if versions is None else ensemble_size_of(versions)


def _versions_there(grid: Grid) -> str | None:
    """What made the first cell that is there."""
    there = np.argwhere(grid.done())
    return grid.read(*there[0].tolist()).versions if len(there) else None


def _jobs(grid: Grid, size: int, index: int, count: int) -> tuple[deque[Job], int]:
    """What is missing, and how many cells there are in all for this shard.

    The cells of an ensemble's call are always the same, whichever of them are there already: rounding differs with
    their number.
    """
    plan, done = grid.plan, grid.done()
    groups = [(k1, first) for k1 in range(plan.K1) for first in range(0, plan.K2, size)][index - 1 :: count]
    queue: deque[Job] = deque()
    total = 0
    for k1, first in groups:
        k2 = tuple(range(first, min(first + size, plan.K2)))
        total += len(k2)
        if not done[k1, list(k2)].all():
            queue.append(job_of(grid, k1, k2))
    return queue, total


def job_of(grid: Grid, k1: int, k2: tuple[int, ...]) -> Job:
    plan = grid.plan
    return Job(
        k1=k1,
        k2=k2,
        train=tuple(plan.train_indices(k1, each) for each in k2),
        seeds=tuple(int(plan.run_seeds[k1, each]) for each in k2),
        indices=plan.supersamples[k1].reshape(-1),
        checkpoints=grid.checkpoints,
    )


def _labels(labels: Any, plan: Plan, num_classes: int | None) -> tuple[np.ndarray, int]:
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    array = np.asarray(labels)
    if array.shape != (plan.pool_size,):
        raise errors.DataError(
            f"run: labels must be [{plan.pool_size}], one for each item of the pool; got {list(array.shape)}. "
            "Pass the labels of the pool that the plan is of."
        )
    if array.dtype.kind not in "iub":
        raise errors.DataError(f"run: labels must be whole numbers; got {array.dtype}. Number the classes from 0.")
    array = array.astype(np.int64)
    if array.min() < 0:
        raise errors.DataError(
            f"run: labels must be from 0; got {array.min()} at item {int(array.argmin())}. Number the classes from 0."
        )
    C = int(array.max()) + 1 if num_classes is None else int(num_classes)
    if not 2 <= C <= MOST_CLASSES:
        raise errors.ConfigError(
            f"run: num_classes must be from 2 to {MOST_CLASSES}; got {C}. Pass labels of two classes, or num_classes."
        )
    wrong = array >= C
    if wrong.any():
        raise errors.DataError(
            f"run: labels must be from 0 to {C - 1}; got {array[wrong][0]} at item {int(np.argmax(wrong))}. "
            "Number the classes from 0, or correct num_classes."
        )
    return array, C


def _checkpoints(checkpoints: Sequence[int] | None) -> tuple[int, ...]:
    marks = tuple(int(each) for each in checkpoints or ())
    if any(b <= a for a, b in zip((0, *marks), marks, strict=False)):
        raise errors.ConfigError(
            f"run: checkpoints must be numbers of epochs in increasing order, from 1; got {list(marks)}. Sort them."
        )
    return marks


def _shard(shard: tuple[int, int], groups: int) -> tuple[int, int]:
    index, count = shard
    if not 1 <= index <= count:
        raise errors.ConfigError(f"run: shard must be (i, N) with i from 1 to N; got {shard}. Correct shard.")
    if count > groups:
        raise errors.ConfigError(
            f"run: shard must be (i, N) with N at most {groups}, what there is to share: the cells, or where an "
            f"ensemble trains its groups; got {shard}. Take fewer shards, or a smaller ensemble_size."
        )
    return index, count


def _warn_of_another(grid: Grid, learner: Learner) -> None:
    """Cells that are there are kept whoever made them: a mended learner goes on where it failed."""
    versions = _versions_there(grid)
    if versions not in (None, learner.versions):
        warnings.warn(
            f"run: {grid.done().sum()} runs are there already, at least one of them made by another learner, or with "
            f"other versions or threads: {versions}; now {learner.versions}. Estimates will be of both. "
            "Choose another folder, unless both predict the same.",
            stacklevel=3,
        )


def _check_labels_of(learner: Any, labels: np.ndarray) -> None:
    """Learners that hold the labels they train on must hold these."""
    if isinstance(learner, TorchLearner | NetworkEnsemble):
        own = learner.y.detach().cpu().numpy()
    elif isinstance(learner, SklearnLearner | HuggingFaceLearner):
        own = learner.labels
    else:
        return
    if not np.array_equal(own, labels):
        raise errors.DataError(
            f"run: labels must be those that the learner trains on; got others, in {_differing(own, labels)}. Pass the "
            "learner's own."
        )


def _differing(own: np.ndarray, labels: np.ndarray) -> str:
    if own.shape != labels.shape:
        return f"another number, {len(own)} and {len(labels)}"
    places = np.flatnonzero(own != labels)
    return f"{len(places)} places, item {places[0]} the first"


def _items_of(learner: Any) -> Any:
    """The pool's inputs, of learners that are known to hold them."""
    return learner.x if isinstance(learner, TorchLearner | SklearnLearner | NetworkEnsemble) else None


def _check(
    train_fn: TrainFn | None,
    ensemble: Ensemble | None,
    ensemble_size: int | None,
    workers: int | None,
    executor: futures.Executor | None,
    timeout: float | None,
    retries: int,
    threads: int,
) -> None:
    learner, name = (train_fn, "train_fn") if ensemble is None else (ensemble, "ensemble")
    if not callable(learner):
        got = type(learner).__name__
        raise errors.ConfigError(f"run: {name} must be a function; got {got}. Pass train_fn, or an ensemble.")
    if executor is not None and (workers is not None or timeout is not None):
        given = "workers" if workers is not None else "timeout"
        raise errors.ConfigError(
            f"run: {given} must be left to the executor; got both. Set it there, or leave out executor."
        )
    if executor is not None and not isinstance(executor, futures.Executor):
        raise errors.ConfigError(
            f"run: executor must be a concurrent.futures.Executor; got {type(executor).__name__}. "
            "Dask's is client.get_executor()."
        )
    for option, value, least in (
        ("workers", workers, 1), ("ensemble_size", ensemble_size, 1), ("threads", threads, 1), ("retries", retries, 0),
    ):  # fmt: skip
        if value is not None:
            errors.check_whole("run", option, value, least)
    if timeout is not None and not timeout > 0:
        raise errors.ConfigError(f"run: timeout must be above 0 seconds; got {timeout}. Leave it out for none.")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
