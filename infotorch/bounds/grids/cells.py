"""Training of cells: what a worker does, and what its predictions must be."""

import contextlib
import random
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import threadpoolctl
import torch

from infotorch import errors
from infotorch.bounds.ensembles.ensemble import DivergedCells
from infotorch.bounds.grids.grid import Cell, Grid

__all__ = [
    "CELLS",
    "Ensemble",
    "Extra",
    "Failure",
    "Job",
    "Learner",
    "TrainFn",
    "cell_of",
    "ensemble_size_of",
    "failure_of",
    "may_be_labels",
    "seeded",
    "train",
    "turn",
]

CELLS = "cells"
"""The name of jobs whose predictions are kept."""
LONGEST = 300
"""Characters of an exception that are shown."""

Predict = Callable[[np.ndarray], Any]
"""Pool indices [M] -> int labels or float losses in [0, 1], or (labels, losses), each [M]; with checkpoints [T, M]."""


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a learner may know of its run besides indices and seed."""

    k1: int
    """The supersample."""
    k2: int
    """The mask."""
    checkpoints: tuple[int, ...] = ()
    """Epochs after which predictions are wanted."""
    probe: str | None = None
    """``None`` where the predictions are kept. The learner is tried besides on the first cell, trained again
    (``"repeat"``) and trained on its test samples (``"control"``): one that writes files by (k1, k2) can tell."""


TrainFn = Callable[[np.ndarray, int, Extra], Predict]


class Ensemble(Protocol):
    """Trains many cells at once."""

    def __call__(
        self, cells: Sequence[tuple[np.ndarray, int]], indices: np.ndarray, checkpoints: Sequence[int] = ()
    ) -> Any:
        """The predictions of each cell, (train_indices, seed), at ``indices`` [M]: [E, M]; with checkpoints [E, T, M].

        A cell's predictions don't depend on which other cells are there.
        """


@dataclass(frozen=True, kw_only=True)
class Job:
    """Cells of one supersample that are trained together."""

    k1: int
    """The supersample."""
    k2: tuple[int, ...]
    """The masks."""
    train: tuple[np.ndarray, ...]
    """What each is trained on, [n]."""
    seeds: tuple[int, ...]
    """The seed of each."""
    indices: np.ndarray
    """[2n]: both items of every pair."""
    checkpoints: tuple[int, ...] = ()
    """Epochs after which predictions are wanted."""
    name: str = CELLS
    """What its predictions are for."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that came to nothing."""

    reason: str
    """One line."""
    trace: str = ""
    """The traceback, where the learner raised."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a job."""

    predictions: list[Any]
    """Of each cell, unchecked; a failure in place of those of an ensemble's member that diverged."""
    seconds: float
    """Of each cell, on average."""
    versions: str
    """Of what trained it, the learner's digest included."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What a worker keeps: how to train, and with how many threads."""

    train_fn: TrainFn | None
    """Trains one cell."""
    ensemble: Ensemble | None
    """Trains many at once; then ``train_fn`` isn't called."""
    threads: int
    """Threads of one worker: their number changes sums in the last bits, so it's the same for every run."""
    ensemble_size: int | None = None
    """Cells of one call of the ensemble."""
    digest: str = ""
    """Which learner this is."""

    @property
    def versions(self) -> str:
        """All that predictions depend on besides indices and seed."""
        parts = [f"torch {torch.__version__}", f"numpy {np.__version__}", f"learner {self.digest}"]
        parts += [f"threads {self.threads}"]
        parts += [] if self.ensemble is None else [f"ensemble_size {self.ensemble_size}"]
        return ", ".join(parts)

    def __call__(self, job: Job) -> Trained | Failure:
        return train(self, job)


def ensemble_size_of(versions: str) -> int | None:
    """The ``ensemble_size`` in a cell's versions; ``None`` where no ensemble made it."""
    found = re.search(r"\bensemble_size (\d+)$", versions)
    return None if found is None else int(found[1])


_turn = threading.RLock()
"""The generators and the number of threads are the whole process's, so jobs in threads of one take turns."""


def train(learner: Learner, job: Job) -> Trained | Failure:
    """The predictions of the job's cells."""
    with turn(learner.threads):
        begun = time.perf_counter()
        try:
            predictions = _together(learner.ensemble, job) if learner.ensemble is not None else _singly(learner, job)
        except (Exception, SystemExit) as error:  # it's the user's, and may raise anything: other cells go on
            return failure_of(error)
        seconds = (time.perf_counter() - begun) / len(job.k2)
    return Trained(predictions=predictions, seconds=seconds, versions=learner.versions)


def failure_of(error: BaseException, before: str = "") -> Failure:
    """What is told of an exception."""
    lines = str(error).strip().splitlines() or ["(no text)"]
    trace = "".join(traceback.format_exception(error))
    return Failure(reason=f"{before}{type(error).__name__}: {lines[0][:LONGEST]}", trace=trace)


def _together(ensemble: Ensemble, job: Job) -> list[Any]:
    cells = list(zip(job.train, job.seeds, strict=True))
    diverged: dict[int, Failure] = {}
    with seeded(job.seeds[0]):
        try:
            found = _plain(ensemble(cells, job.indices, *([job.checkpoints] if job.checkpoints else [])))
        except DivergedCells as error:
            found, diverged = error.labels, {place: failure_of(error) for place in error.cells}
    predictions = list(zip(*found, strict=True)) if isinstance(found, tuple) else list(found)
    if len(predictions) != len(cells):
        raise errors.ShapeError(
            f"ensemble: predictions must be those of {len(cells)} cells; got {len(predictions)}. Return [E, M]."
        )
    return [diverged.get(place, each) for place, each in enumerate(predictions)]


def _singly(learner: Learner, job: Job) -> list[Any]:
    return [_one(learner, job, place) for place in range(len(job.k2))]


def _one(learner: Learner, job: Job, place: int) -> Any:
    assert learner.train_fn is not None
    seed = job.seeds[place]
    probe = None if job.name == CELLS else job.name
    extra = Extra(k1=job.k1, k2=job.k2[place], checkpoints=job.checkpoints, probe=probe)
    with seeded(seed):
        predict = learner.train_fn(job.train[place].copy(), seed, extra)
        if not callable(predict):
            raise errors.ConfigError(
                f"train_fn: it must return a function of indices; got {type(predict).__name__}. "
                "Return a function that gives the predicted labels of pool indices."
            )
        return _plain(predict(job.indices.copy()))


def cell_of(predictions: Any, *, grid: Grid, trained: Trained) -> Cell:
    """The predictions of one of the grid's runs, checked.

    Raises:
        DataError: They have the wrong shape, are labels outside the classes, or losses outside [0, 1].
    """
    parts = predictions if isinstance(predictions, tuple) else (predictions,)
    n, checkpoints = grid.plan.n, grid.checkpoints
    labels = losses = None
    for values in (np.asarray(part) for part in parts):
        shape = (len(checkpoints), 2 * n) if checkpoints else (2 * n,)
        if values.shape != shape:
            raise errors.DataError(
                f"bounds: predictions must be {list(shape)}, one for each index asked for"
                f"{' at each checkpoint' if checkpoints else ''}; got {list(values.shape)}. "
                "Return the labels of the indices in their order."
            )
        if values.dtype.kind in "iub":
            labels = _labels(values, grid.num_classes)
        elif values.dtype.kind == "f":
            losses = _losses(values)
        else:
            raise errors.DataError(
                f"bounds: predictions must be whole labels, or losses in floating point; got {values.dtype}. "
                "Return labels from 0 to C - 1."
            )
    if len(parts) > 1 and (labels is None or losses is None or len(parts) > 2):
        raise errors.DataError(
            "bounds: two predictions must be (labels, losses), int and float; got "
            f"({', '.join(str(np.asarray(part).dtype) for part in parts)}). Return one of them, or both."
        )
    pairs = [None if x is None else x.reshape(-1, n, 2) for x in (labels, losses)]
    return Cell(labels=pairs[0], losses=pairs[1], seconds=trained.seconds, versions=trained.versions)


def _labels(values: np.ndarray, num_classes: int) -> np.ndarray:
    values = values.astype(np.int64)
    wrong = (values < 0) | (values >= num_classes)
    if wrong.any():
        raise errors.DataError(
            f"bounds: predicted labels must be from 0 to {num_classes - 1}; got {values[wrong][0]}. "
            "Return class numbers, or pass num_classes."
        )
    return values


def may_be_labels(losses: np.ndarray | None) -> bool:
    """Whether losses could be class numbers that came in floating point: 0/1 losses look the same."""
    return losses is not None and bool(((losses == 0) | (losses == 1)).all())


def _losses(values: np.ndarray) -> np.ndarray:
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise errors.DataError(
            f"bounds: predictions in floating point are losses, which must be from 0 to 1; got {values[wrong][0]} in "
            f"{values.dtype}. Return labels as whole numbers, by .astype(int), or clip or scale the loss into [0, 1]."
        )
    return values.astype(np.float32)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's own generators follow from ``seed`` inside, and are as before afterwards.

    So a learner that forgets its seed in one place is deterministic in it all the same.
    """
    python, numpy, state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # those of devices too, the ones that are yet to be initialized included
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.random.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def turn(threads: int) -> Iterator[None]:
    """One job at a time in this process, with so many threads."""
    with _turn:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with threadpoolctl.threadpool_limits(threads):
                yield
        finally:
            torch.set_num_threads(before)


def _plain(predictions: Any) -> Any:
    """Predictions as NumPy arrays, so that no tensor crosses between processes."""
    if isinstance(predictions, tuple):
        return tuple(_plain(part) for part in predictions)
    if isinstance(predictions, torch.Tensor):
        return predictions.detach().cpu().numpy()
    return np.asarray(predictions)
