"""The sweep of beta: many variational trainings on a grid that is on disk, one file a cell."""

import concurrent.futures as futures
import copy
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from infotorch import errors
from infotorch.bounds.grids.cells import Failure, seeded
from infotorch.bounds.runs.workers import elsewhere, here, processes
from infotorch.data import samples_of
from infotorch.measures.digest import digest, digest_of_code
from infotorch.pipeline.sweep_cells import WHERE, SweepCell, SweepRow, SweepWork, drawn_anew
from infotorch.pipeline.sweep_folder import SCHEMA_VERSION, WORK, SweepFolder, make_folder, read_folder
from infotorch.store.files import locked
from infotorch.store.manifest import plain
from infotorch.task import Task
from infotorch.train import fit_variational, variational

__all__ = ["Sweep", "SweepError", "read_sweep", "sweep_beta"]

SHOWN = 5
"""Reasons of failed cells that an error shows."""


class SweepError(errors.InfotorchError, RuntimeError):
    """Cells could not be trained; the others are on disk."""

    def __init__(self, message: str, cells: dict[SweepCell, str]) -> None:
        super().__init__(message, cells)
        self.cells = cells
        """Each failed cell with the reason."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The cells of a sweep.

    Each is a training, so that C_beta is what was reached and not the least; a collapse is placed to a step of the
    grid of betas.
    """

    rows: tuple[SweepRow, ...]
    """By corruption, beta and seed."""
    num_samples: int
    """N."""
    num_classes: int
    """C; 0 without classes."""
    kind: str = "estimate"

    def means(self) -> list[dict[str, Any]]:
        """The mean over seeds for each corruption and beta: the row's fields, ``num_seeds`` in place of ``seed``."""
        groups: dict[tuple[float, float], list[SweepRow]] = {}
        for row in self.rows:
            groups.setdefault((row.corruption, row.beta), []).append(row)
        found = []
        for (corruption, beta), rows in groups.items():
            mean: dict[str, Any] = {"beta": beta, "corruption": corruption, "num_seeds": len(rows)}
            for name in ("noisy_ce", "train_acc", "test_acc", "kl", "c"):
                values = [getattr(row, name) for row in rows]
                mean[name] = None if None in values else float(np.mean(values))
            found.append(mean)
        return found

    def collapse(self, corruption: float) -> float | None:
        """The smallest beta of the grid from which on mean training accuracy is low.

        That is below 2 / C, twice that of guessing; with two classes below 3/4, halfway between guessing and 1.
        ``None`` where accuracy at the largest beta is above, or there are no classes.
        """
        found = None
        rows = [row for row in self.means() if row["corruption"] == corruption and row["train_acc"] is not None]
        least = min(2 / self.num_classes, (1 / self.num_classes + 1) / 2) if rows else 0.0
        for row in sorted(rows, key=lambda row: -row["beta"]):
            if row["train_acc"] >= least:
                break
            found = row["beta"]
        return found

    def as_dict(self) -> dict[str, Any]:
        """All rows, their means, and the beta at which each corruption collapses."""
        levels = sorted({row.corruption for row in self.rows})
        return {"num_samples": self.num_samples, "num_classes": self.num_classes, "kind": self.kind,
                "rows": [row.as_dict() for row in self.rows], "means": self.means(),
                "collapse": {f"{level:g}": self.collapse(level) for level in levels}}  # fmt: skip


def sweep_beta(
    task: Task,
    data: Any,
    *,
    betas: Sequence[float],
    out: str | Path,
    corruptions: Sequence[float] = (0.0,),
    seeds: int = 1,
    test_data: Any = None,
    prior_var: float | Literal["learned"] = "learned",
    granularity: str = "weight",
    noise: str = "weight",
    fresh: bool = True,
    steps: int = 1200,
    batch_size: int | None = None,
    lr: float = 1e-2,
    num_draws: int = 32,
    workers: int | None = None,
    executor: futures.Executor | None = None,
    retries: int = 1,
    threads: int = 1,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> Sweep:
    r"""Trains a variational network for each beta, share of random labels and seed that isn't on disk yet.

    The experiment of Achille and Soatto (arXiv 1706.01350, figure 2): as beta falls, networks begin to hold
    information on their labels, random ones below beta = 1 and at more nats a sample. A cell is there whole or not at
    all: after any kill the same call trains what is missing, and other betas, corruptions or seeds are added to those
    that are there. Rows are the same bits whatever the number of workers.

    Args:
        task: The network, its loss and the parameters that get noise; the others are frozen.
        data: Whatever ``infotorch.data.samples_of`` takes, N samples.
        betas: Each > 0, next to the summed loss.
        out: Folder: new, empty, or one of this sweep.
        corruptions: Shares in [0, 1] of labels that are drawn anew from all classes alike.
        seeds: How many: 0, 1, ... Each has its own random labels, initial weights, batches and noise.
        test_data: Samples to measure on too.
        prior_var: Of ``variational``.
        granularity: Of ``variational``.
        noise: Of ``variational``.
        fresh: Begin each cell with new initial weights, by the layers' own ``reset_parameters``; else with the given.
        steps: Of ``fit_variational``, as all up to ``num_draws``.
        batch_size: As there.
        lr: As there.
        num_draws: As there.
        workers: Processes; default one a core. 1 trains in this process.
        executor: Any ``concurrent.futures.Executor`` in place of own processes.
        retries: How often a cell that fails is tried again.
        threads: Of one worker.
        progress: Called with ``(stage, done, total, note)``.

    Raises:
        ConfigError: An option is unknown or out of range.
        DataError: There are no samples, or they don't fit the network.
        NotSupported: The task has a forward of its own.
        StoreError: The folder holds something else or another sweep, another process writes there, or the system
            refuses.
        SweepError: Cells failed; the others are on disk.
    """
    cells = _cells(betas, corruptions, seeds)
    _check(workers, executor, retries, threads)
    work = _work(
        task, data, test_data, fresh=fresh, threads=threads, labels=any(cell.corruption for cell in cells),
        wrapping={"prior_var": prior_var, "granularity": granularity, "noise": noise},
        fitting={"steps": steps, "batch_size": batch_size, "lr": lr, "num_draws": num_draws},
    )  # fmt: skip
    path = make_folder(out)
    with locked(path):
        folder = SweepFolder.begun(path, _settings(work))
        rows = {cell: folder.read(cell) for cell in cells if folder.path_of(cell).exists()}
        queue = deque(cell for cell in cells if cell not in rows)
        if executor is not None:
            outcomes = elsewhere(queue, work, executor)
        elif not queue or workers == 1:
            outcomes = here(queue, work)
        else:
            count = min(workers or len(os.sched_getaffinity(0)), len(queue))
            outcomes = processes(queue, work, count, None, (path / WORK).absolute())
        tries: Counter[SweepCell] = Counter()
        failed: dict[SweepCell, str] = {}
        with closing(outcomes):
            for cell, outcome in outcomes:
                tries[cell] += 1
                if isinstance(outcome, Failure):
                    if tries[cell] <= retries:
                        queue.append(cell)
                    else:
                        failed[cell] = outcome.reason
                    continue
                folder.write(cell, outcome)
                rows[cell] = outcome.row
                if progress is not None:
                    progress("training cells", len(rows), len(cells), str(cell))
    _raise_failures(failed)
    return Sweep(rows=tuple(rows[cell] for cell in cells), num_samples=len(work.y), num_classes=work.num_classes)


def read_sweep(out: str | Path) -> Sweep:
    """All cells of a folder.

    Raises:
        StoreError: There is no sweep, or a file is damaged.
    """
    folder = read_folder(out)
    rows = tuple(folder.read(cell) for cell in folder.cells())
    return Sweep(rows=rows, num_samples=folder.settings["num_samples"], num_classes=folder.settings["num_classes"])


def _cells(betas: Any, corruptions: Any, seeds: Any) -> list[SweepCell]:
    for name, values, holds, must in (
        ("betas", betas, lambda v: 0 < v < math.inf, "> 0 and finite"),
        ("corruptions", corruptions, lambda v: 0 <= v <= 1, "in [0, 1]"),
    ):
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise errors.ConfigError(f"{WHERE}: {name} must be a list of numbers; got {values!r}. List at least one.")
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not holds(value):
                raise errors.ConfigError(f"{WHERE}: {name} must be {must}; got {value!r}. Correct {name}.")
    errors.check_whole(WHERE, "seeds", seeds, 1)
    return sorted(
        {
            SweepCell(corruption=float(corruption), beta=float(beta), seed=seed)
            for corruption in corruptions
            for beta in betas
            for seed in range(seeds)
        }
    )


def _check(workers: Any, executor: Any, retries: Any, threads: Any) -> None:
    if executor is not None and not isinstance(executor, futures.Executor):
        raise errors.ConfigError(
            f"{WHERE}: executor must be a concurrent.futures.Executor; got {type(executor).__name__}. "
            "Dask's is client.get_executor()."
        )
    if executor is not None and workers is not None:
        raise errors.ConfigError(
            f"{WHERE}: workers must be left to the executor; got both. Set it there, or leave out executor."
        )
    for option, value, least in (("workers", workers, 1), ("retries", retries, 0), ("threads", threads, 1)):
        if value is not None:
            errors.check_whole(WHERE, option, value, least)


def _work(
    task: Task, data: Any, test_data: Any, *, fresh: bool, threads: int, labels: bool, wrapping: dict[str, Any],
    fitting: dict[str, Any],
) -> SweepWork:  # fmt: skip
    """What every cell shares; options and data are tried once, before anything is written."""
    if not isinstance(task, Task):
        raise errors.ConfigError(f"{WHERE}: task must be a Task; got {type(task).__name__}. Pass Task(model).")
    if task.forward is not None:
        raise errors.NotSupported(
            f"{WHERE}: the network must take its inputs itself; got a task with forward=. Put it into a module."
        )
    model = copy.deepcopy(task.model)
    if task.params is not None:
        chosen = task.parameters()
        for name, p in model.named_parameters():
            p.requires_grad_(name in chosen)
    samples = samples_of(data)
    test = None if test_data is None else samples_of(test_data)
    y = samples.y
    classes = not y.is_floating_point() and y.dim() == 1
    if labels and not classes:
        raise errors.DataError(
            f"{WHERE}: labels must be classes, int64 [N], for random ones to be drawn; got {y.dtype} {list(y.shape)}. "
            "Leave out corruptions."
        )
    device = next(model.parameters()).device
    pair = (torch.as_tensor(samples.x[:]).to(device), y.to(device))
    test_pair = None if test is None else (torch.as_tensor(test.x[:]).to(device), test.y.to(device))
    once = {"steps": min(1, fitting["steps"]), "num_draws": min(2, fitting["num_draws"])}
    with seeded(0):
        q = variational(drawn_anew(model) if fresh else model, **wrapping)
        fit_variational(q, pair, beta=1.0, loss=task.loss, test_data=test_pair, **(fitting | once))
        with torch.no_grad():
            num_classes = q.eval()(pair[0][:1]).shape[-1] if classes else 0
    return SweepWork(
        model=model, loss=task.loss, x=pair[0], y=pair[1], test=test_pair, num_classes=num_classes, fresh=fresh,
        wrapping=wrapping, fitting=fitting, threads=threads,
    )  # fmt: skip


def _settings(work: SweepWork) -> dict[str, Any]:
    """What every row follows from, besides beta, corruption and seed."""
    model = work.model
    kept = [p for p in model.parameters() if not (work.fresh and p.requires_grad)]
    settings = {
        "schema_version": SCHEMA_VERSION,
        "weights": "fresh" if work.fresh else "given",
        "network": digest_of_code(model, state=False),
        "weights_kept": digest([*kept, *model.buffers()]),
        "params": [name for name, p in model.named_parameters() if p.requires_grad],
        "data": digest([work.x, work.y]),
        "test_data": None if work.test is None else digest(work.test),
        "num_samples": len(work.y),
        "num_classes": work.num_classes,
        "loss": work.loss if isinstance(work.loss, str) else digest_of_code(work.loss),
        "threads": work.threads,
        **work.wrapping,
        **work.fitting,
    }
    return plain(settings, WHERE)


def _raise_failures(failed: dict[SweepCell, str]) -> None:
    if not failed:
        return
    alike: dict[str, list[SweepCell]] = {}
    for cell in sorted(failed):
        alike.setdefault(failed[cell], []).append(cell)
    told = [
        f"{cells[0]}{f' and {len(cells) - 1} more' if len(cells) > 1 else ''}: {reason.rstrip('.')}"
        for reason, cells in alike.items()
    ]
    more = f"; and {len(told) - SHOWN} more reasons" if len(told) > SHOWN else ""
    raise SweepError(
        f"{WHERE}: every cell must train; got {len(failed)} that failed each time: {'; '.join(told[:SHOWN])}{more}. "
        "The others are kept: the same call trains the missing cells only.",
        failed,
    )
