"""What comes of the jobs: cells kept, failures counted, the learner judged, the estimate so far."""

import time
import warnings
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.bounds.cells import CELLS, Failure, Job, Trained, cell_of
from infotorch.bounds.estimation import Runs, summary
from infotorch.bounds.grid import Cell, Grid
from infotorch.bounds.probe import CONTROL, FIRST, REPEAT, probe_of, write_probe

__all__ = ["Collector", "RunError"]

SHOWN = 5
"""Failed cells that an error shows; all are in its ``cells``."""
NOTED = 5.0
"""Seconds between two computations of the running estimate."""
HOPELESS = 3
"""So many jobs that fail before any cell is trained say that it's the learner."""


class RunError(errors.InfotorchError, RuntimeError):
    """Cells of a grid could not be trained; the others are on disk."""

    def __init__(
        self, message: str, cells: dict[tuple[int, int], str], traces: dict[tuple[int, int], str] | None = None
    ) -> None:
        super().__init__(message, cells, traces)  # all, for pickle
        self.cells = cells
        """Each failed cell (k1, k2) with the reason."""
        self.traces = traces or {}
        """The learner's traceback of each, where it raised."""

    def __str__(self) -> str:
        return str(self.args[0])


class Collector:
    """Takes each job with its outcome; a job to be tried again goes back into the queue."""

    def __init__(self, grid: Grid, temporary: Path, queue: deque[Job], retries: int) -> None:
        self.grid, self.temporary, self.queue, self.retries = grid, temporary, queue, retries
        self.num_new = 0
        self.failed: dict[tuple[int, int], str] = {}
        self._traces: dict[tuple[int, int], str] = {}
        self._refused, self._lost, self._untried = 0, 0, ""
        self._tries: Counter[tuple[str, int, tuple[int, ...]]] = Counter()
        self._trials: dict[str, Cell] = {}
        self._awaited = {job.name for job in queue} - {CELLS}
        self._kept: dict[tuple[int, int], Cell] = {}
        self._note, self._noted = "", -NOTED

    @property
    def hopeless(self) -> bool:
        return self._lost >= HOPELESS and not self.num_new

    def take(self, job: Job, outcome: Trained | Failure) -> None:
        """Keeps what came of the job."""
        if isinstance(outcome, Failure):
            key = (job.name, job.k1, job.k2)
            self._tries[key] += 1
            if self._tries[key] <= self.retries:
                self.queue.append(job)
            else:
                self._lose(job, job.k2, outcome.reason, outcome.trace)
            return
        wrong: list[tuple[int, str]] = []
        for k2, predictions in zip(job.k2, outcome.predictions, strict=True):
            if isinstance(predictions, Failure):
                self._lose(job, [k2], predictions.reason, predictions.trace)
                continue
            try:
                cell = cell_of(predictions, grid=self.grid, trained=outcome)
            except errors.DataError as error:
                wrong.append((k2, str(error)))
                continue
            if job.name != CELLS:
                self._trials[job.name] = cell
            elif not self.grid.cell_path(job.k1, k2).exists():
                self.grid.write(job.k1, k2, cell, temporary=self.temporary)
                self._kept[job.k1, k2] = cell
                self.num_new += 1
        if wrong:
            self._refused += len(wrong) if job.name == CELLS else 0
            self._lose(job, [k2 for k2, _ in wrong], wrong[0][1])
        self._judge()

    def note(self) -> str:
        """``bound ~0.026, gap 0.009``: of the runs that were made by this call so far."""
        if not self.queue or time.monotonic() - self._noted >= NOTED:
            self._note, self._noted = self._estimate(), time.monotonic()
        return self._note

    def _estimate(self) -> str:
        plan, pairs = self.grid.plan, self.grid.pair_labels
        supersamples = []
        for k1 in range(plan.K1):
            rows = [k2 for k2 in range(plan.K2) if (k1, k2) in self._kept]
            if len(rows) < 2:
                continue
            cells = [self._kept[k1, k2] for k2 in rows]
            predicted, losses = (
                None if getattr(cells[0], name) is None else np.stack([getattr(cell, name)[-1] for cell in cells])
                for name in ("labels", "losses")
            )
            blocks = np.zeros(len(rows), np.int64)
            supersamples.append(
                Runs(bits=plan.masks[k1, rows], blocks=blocks, predicted=predicted, labels=pairs[k1], losses=losses)
            )
        if not supersamples:
            return ""
        bound, gap = summary(supersamples, self.grid.num_classes)
        return f"bound ~{bound:.3g}, gap {gap:.3g}"

    def _lose(self, job: Job, cells: Sequence[int], reason: str, trace: str = "") -> None:
        if job.name != CELLS:
            self._untried = reason
            return
        self._lost += 1
        self.failed |= {(job.k1, k2): reason for k2 in cells}
        if trace:
            self._traces |= {(job.k1, k2): trace for k2 in cells}

    def _judge(self) -> None:
        trials, alone = self._trials, FIRST in self._awaited
        if not trials or trials.keys() != self._awaited or not (alone or self.grid.cell_path(0, 0).exists()):
            return
        first = trials.pop(FIRST) if alone else self.grid.read(0, 0)
        probe = probe_of(first, trials.pop(REPEAT), trials.pop(CONTROL))
        write_probe(self.grid, probe, self.temporary)
        for text in probe.warnings():
            warnings.warn(f"run: {text}", stacklevel=4)

    def raise_failures(self) -> None:
        """Raises for the cells that failed, if any."""
        if not self.failed:
            if self._untried:
                warnings.warn(
                    f"run: whether the learner follows its seed and its indices is unknown: {self._untried}",
                    stacklevel=3,
                )
            return
        cells = sorted(self.failed.items())
        listed = "; ".join(f"(k1={k1}, k2={k2}): {reason.rstrip('.')}" for (k1, k2), reason in cells[:SHOWN])
        more = f"; and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
        if self._refused == len(cells):
            raise errors.DataError(f"{cells[0][1]} This was cell (k1={cells[0][0][0]}, k2={cells[0][0][1]}).")
        rest = "The others weren't tried" if self.hopeless else "The others are kept"
        raise RunError(
            f"run: every cell must train; got {len(cells)} that failed {self.retries + 1} times: {listed}{more}. "
            f"{rest}: mend the learner and call run again, which trains the missing cells only.",
            dict(cells),
            self._traces,
        )
