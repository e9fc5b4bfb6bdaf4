"""What comes of the jobs: cells kept, failures counted, the learner judged, the estimate so far."""

import time
import warnings
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infotorch import errors
from infotorch.bounds.estimates.estimation import Runs, summary
from infotorch.bounds.grids.cells import CELLS, Failure, Job, Trained, cell_of, may_be_labels
from infotorch.bounds.grids.grid import Cell, Grid
from infotorch.bounds.grids.probe import CONTROL, FIRST, REPEAT, probe_of, write_probe

__all__ = ["Collector", "PredictionsError", "RunError"]

SHOWN = 5
"""Reasons of failed cells that an error shows; all are in its ``cells``."""
NOTED = 5.0
"""Seconds between two computations of the running estimate."""


class RunError(errors.InfotorchError, RuntimeError):
    """Cells of a grid could not be trained; the others are on disk.

    Its cause, which Python shows above it and the command line with ``--debug``, has the learner's own tracebacks.
    """

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


class LearnerTraceback(Exception):
    """Tracebacks of a learner as text: they may be of other processes."""


class PredictionsError(RunError, errors.DataError):
    """All cells that are missing were trained, and what they predicted is neither labels nor losses."""


class Collector:
    """Takes each job with its outcome; a job to be tried again goes back into the queue.

    With ``noted`` it keeps what the running estimate is made of: the last predictions of this call's cells.
    """

    def __init__(self, grid: Grid, temporary: Path, queue: deque[Job], retries: int, *, noted: bool = False) -> None:
        self.grid, self.temporary, self.queue, self.retries = grid, temporary, queue, retries
        self.num_new = 0
        self.failed: dict[tuple[int, int], str] = {}
        self._traces: dict[tuple[int, int], str] = {}
        self._tried: dict[tuple[int, int], int] = {}
        self._refused, self._untried = 0, ""
        self._tries: Counter[tuple[str, int, tuple[int, ...]]] = Counter()
        self._trials: dict[str, list[Cell]] = {}
        self._awaited = {job.name for job in queue} - {CELLS}
        self._kept: dict[tuple[int, int], _Last] | None = {} if noted else None
        self._note, self._noted = "", -NOTED
        self._told_losses = False

    def take(self, job: Job, outcome: Trained | Failure) -> None:
        """Keeps what came of the job."""
        key = (job.name, job.k1, job.k2)
        self._tries[key] += 1
        tries = self._tries[key]
        if isinstance(outcome, Failure):
            if tries <= self.retries:
                self.queue.append(job)
            else:
                self._lose(job, job.k2, outcome.reason, tries, outcome.trace)
            return
        trial: list[Cell] = []
        for k2, predictions in zip(job.k2, outcome.predictions, strict=True):
            if isinstance(predictions, Failure):
                self._lose(job, [k2], predictions.reason, tries, predictions.trace)
                continue
            try:
                cell = cell_of(predictions, grid=self.grid, trained=outcome)
            except errors.DataError as error:
                self._refused += job.name == CELLS
                self._lose(job, [k2], str(error), tries)
                continue
            if cell.labels is None and may_be_labels(cell.losses) and not self._told_losses:
                self._told_losses = True
                warnings.warn(
                    f"run: predictions of one run came in {np.asarray(predictions).dtype}, all of them 0 or 1, and are "
                    "read as losses. Where they are labels, end this run, delete its folder and return whole numbers, "
                    "by .astype(int). Where they are 0/1 losses, returning the labels, or (labels, losses), tells "
                    "more.",
                    stacklevel=3,
                )
            if job.name != CELLS:
                trial.append(cell)
            elif not self.grid.cell_path(job.k1, k2).exists():
                self.grid.write(job.k1, k2, cell, temporary=self.temporary)
                self.num_new += 1
                if self._kept is not None:
                    self._kept[job.k1, k2] = _last(cell, self.grid.num_classes)
        if job.name != CELLS and len(trial) == len(job.k2):
            self._trials[job.name] = trial
        self._judge()

    def note(self) -> str:
        """``bound ~0.026, gap 0.009``: of the runs that were made by this call so far."""
        if not self.queue or time.monotonic() - self._noted >= NOTED:
            self._note, self._noted = self._estimate(), time.monotonic()
        return self._note

    def _estimate(self) -> str:
        plan, pairs, kept = self.grid.plan, self.grid.pair_labels, self._kept or {}
        supersamples = []
        for k1 in range(plan.K1):
            rows = [k2 for k2 in range(plan.K2) if (k1, k2) in kept]
            if len(rows) < 2:
                continue
            labels, losses = (
                None if any(each is None for each in parts) else np.stack(parts)
                for parts in zip(*(kept[k1, k2] for k2 in rows), strict=True)
            )
            if labels is None and losses is None:  # some gave labels, others losses
                continue
            blocks = np.zeros(len(rows), np.int64)
            supersamples.append(
                Runs(bits=plan.masks[k1, rows], blocks=blocks, predicted=labels, labels=pairs[k1], losses=losses)
            )
        if not supersamples:
            return ""
        bound, gap = summary(supersamples, self.grid.num_classes)
        return f"bound ~{bound:.3g}, gap {gap:.3g}"

    def _lose(self, job: Job, cells: Sequence[int], reason: str, tries: int, trace: str = "") -> None:
        if job.name != CELLS:
            self._untried = reason
            return
        for k2 in cells:
            self.failed[job.k1, k2], self._tried[job.k1, k2] = reason, tries
            if trace:
                self._traces[job.k1, k2] = trace

    def _judge(self) -> None:
        trials, together = self._trials, FIRST in self._awaited
        if not trials or trials.keys() != self._awaited or not (together or self.grid.cell_path(0, 0).exists()):
            return
        if together:
            first, control = trials[FIRST]
        else:
            first, control = self.grid.read(0, 0), trials[CONTROL][0]
        probe = probe_of(first, trials[REPEAT][0], control)
        self._trials = {}
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
        cells = dict(sorted(self.failed.items()))
        (k1, k2), first = next(iter(cells.items()))
        if self._refused == len(cells):
            more = f", and {len(cells) - 1} more are such" if len(cells) > 1 else ""
            raise PredictionsError(f"{first} This was cell (k1={k1}, k2={k2}){more}.", cells)
        alike: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for cell, reason in cells.items():
            alike.setdefault((reason, self._tried[cell]), []).append(cell)
        shown = list(alike.items())[:SHOWN]
        listed = "; ".join(_told(reason, tries, same) for (reason, tries), same in shown)
        left = len(cells) - sum(len(same) for _, same in shown)
        failed = RunError(
            f"run: every cell must train; got {len(cells)} that failed each time: {listed}"
            f"{f'; and {left} more' if left else ''}. The others are kept: mend the learner and call run again, which "
            "trains the missing cells only.",
            cells,
            self._traces,
        )
        first_of = [same[0] for _, same in shown if same[0] in self._traces]
        traces = "".join(f"\nIn cell {_name(cell)}:\n{self._traces[cell]}" for cell in first_of)
        raise failed from (LearnerTraceback(traces) if traces else None)


def _told(reason: str, tries: int, cells: list[tuple[int, int]]) -> str:
    named = _name(cells[0]) if len(cells) == 1 else f"{len(cells)} cells, first {_name(cells[0])}"
    return f"{named}: {reason.rstrip('.')} (tried {'once' if tries == 1 else f'{tries} times'})"


def _name(cell: tuple[int, int]) -> str:
    return f"(k1={cell[0]}, k2={cell[1]})"


_Last = tuple[np.ndarray | None, np.ndarray | None]
"""Labels, or else losses, [n, 2], at the last checkpoint."""


def _last(cell: Cell, num_classes: int) -> _Last:
    # Copies: a view would keep every checkpoint's.
    if cell.labels is not None:
        return cell.labels[-1].astype(np.int16 if num_classes <= 2**15 else np.int32), None
    return None, None if cell.losses is None else cell.losses[-1].astype(np.float32, copy=True)
