"""What a measure takes for a whole data set, from trials on some of its samples."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from infotorch import store
from infotorch.data import Samples
from infotorch.errors import NumericsError
from infotorch.measures import UniqueInformation
from infotorch.measures.measure import Measure
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.meter import measured, resident
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["MeasurePlan", "row_wise_trial", "whole_kernel_trial"]

ENOUGH = 1.0
"""Seconds of timed batches from which a rate is taken."""
WHOLE_KERNEL = 8.0
"""Seconds that trials of the exact form take in all."""
FEW = 16
"""Samples of the first trial of the exact form."""
FARTHEST = 4
"""How many times larger than its trial an exact problem may be for its seconds to be told."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Of a table on disk."""

    num: int
    """N."""
    shard_size: int
    """Of one file."""


@dataclass(frozen=True, kw_only=True)
class MeasurePlan:
    """What one measure of a run takes."""

    name: str
    """As the command line calls it."""
    form: Literal["row by row", "all at once", "dual", "primal"]
    """How it is computed; dual and primal as in :class:`infotorch.UniqueInformation`."""
    why: str
    """Why in this form, and of what size."""
    seconds: Mapping[str, float | None]
    """By stage; None: not estimated, and a note tells why."""
    memory: int | None
    """Bytes of the process that are resident at its peak, those from before the run included; None: not known."""
    disk: Mapping[str, int | None]
    """Bytes of the files that it writes: scores; features and outputs where these are kept on disk."""
    samples_per_second: float | None = None
    """Of the pass that asks the network."""
    effective_dimension: float | None = None
    """Directions that training uses, as the sketch of the samples that were tried sees them; at most k."""
    notes: Sequence[str] = ()
    """What a reader must know of these numbers."""


def row_wise_trial(
    measure: Measure,
    task: Task,
    samples: Samples,
    *,
    memory_limit: int | None,
    batch_size: int,
    rows: Rows,
    folder: Path,
) -> MeasurePlan:
    """Of a measure that looks at one sample at a time, from some batches."""

    def batch(start: int) -> Scores:
        some = slice(start, start + batch_size)
        return measure.scores(task, samples.x[some], samples.y[some], memory_limit=memory_limit, progress=None)

    N = len(samples)
    warm = measured(lambda: batch(0))
    peaks, seconds, done = [warm.peak], 0.0, 0
    table = warm.result
    while done < N and seconds < ENOUGH:
        cost = measured(partial(batch, done))
        seconds, done, table = seconds + cost.seconds, done + len(cost.result), cost.result
        peaks.append(cost.peak)
    return MeasurePlan(
        name=measure.name,
        form="row by row",
        why=f"a score follows from its sample alone; {batch_size:,} samples at a time",
        seconds={measure.name: N * seconds / done},
        memory=highest(peaks),
        disk={"scores": scores_bytes(table, rows, folder)},
        samples_per_second=done / seconds,
    )


def whole_kernel_trial(
    measure: UniqueInformation, ready: Prepared, samples: Samples, *, rows: Rows, folder: Path
) -> MeasurePlan:
    """Of the exact form."""
    N, C = len(samples), ready.num_outputs
    M = 0 if ready.x_test is None else len(ready.x_test)
    tried = exact_trial(measure, ready, samples, N, M)
    size = measure.exact_bytes(N, M, C)
    kernel = f"the kernel of {N:,} samples, {size / 2**20:,.0f} MiB with what solves it"
    return MeasurePlan(
        name=measure.name,
        form="dual",
        why=f"asked for: {kernel}" if measure.form == "dual" else f"{kernel}, fits the memory",
        seconds={stage: None if s is None else len(ready.tasks) * s for stage, s in tried.seconds.items()},
        memory=tried.memory,
        disk={"scores": None if tried.table is None else scores_bytes(tried.table, rows, folder)},
        notes=[f"seconds are not estimated: {tried.why_not}"] if tried.why_not else [],
    )


@dataclass(frozen=True, kw_only=True)
class ExactTrial:
    """Of the exact form."""

    seconds: Mapping[str, float | None]
    """By stage, None where ``why_not`` says so."""
    memory: int | None
    """Bytes that are resident at the peak; None: not known."""
    after: int | None = None
    """Bytes that are resident after the largest trial, where the allocator keeps some of what was freed."""
    table: Scores | None = None
    """Of the largest trial."""
    why_not: str = ""
    """What stands against telling the seconds."""


def exact_trial(measure: UniqueInformation, ready: Prepared, samples: Samples, N: int, M: int) -> ExactTrial:
    """Of the exact form's stages on N samples and M test samples.

    Each stage is timed on a fraction of both, twice as large each time, and is taken to be a sum of two powers of it:
    the kernel of the first and second, its solution of the second and third.
    """
    powers = {"kernel": (1, 2), "scores": (2, 3)}
    unknown: dict[str, float | None] = dict.fromkeys(powers)
    times: list[tuple[float, dict[str, float]]] = []
    task, x_test, C = ready.tasks[0], ready.x_test, ready.num_outputs
    before, whole = resident(), measure.exact_bytes(N, M, C)
    memory = None if before is None else before + whole
    spent, share = 0.0, min(1.0, FEW / N)
    while True:
        n, m = max(2, round(share * N)), max(1, round(share * M))
        few = dataclasses.replace(
            measure, form="dual", dim=None, models=None, removed=None, groups=None,
            test_data=None if x_test is None else x_test[:m],
        )  # fmt: skip
        try:
            if not times:
                few.scores(task, samples.x[:n], samples.y[:n])  # warms up
            watch = _Stages()
            cost = measured(partial(few.scores, task, samples.x[:n], samples.y[:n], progress=watch))
        except NumericsError as error:
            return ExactTrial(seconds=unknown, memory=memory, why_not=f"on {n:,} samples alone, {error}")
        times.append((share, watch.seconds))
        memory = None if cost.peak is None else cost.peak + whole - measure.exact_bytes(n, m, C)
        spent += cost.seconds
        if share == 1 or spent + 4 * cost.seconds > WHOLE_KERNEL:
            break
        share = min(1.0, 2 * share)
    after = resident()
    share, last = times[-1]
    if share == 1:
        return ExactTrial(seconds=last, memory=memory, after=after, table=cost.result)
    if share * FARTHEST < 1 or len(times) < 2:
        why = f"{N:,} samples are more than {FARTHEST} times the {n:,} on which it was tried"
        return ExactTrial(seconds=unknown, memory=memory, after=after, table=cost.result, why_not=why)
    other, sooner = times[-2]
    seconds = {stage: _grown((other, sooner[stage]), (share, last[stage]), powers[stage]) for stage in powers}
    return ExactTrial(seconds=seconds, memory=memory, after=after, table=cost.result)


class _Stages:
    """Seconds from each stage's first word to the next one's, as progress is told."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("kernel", "scores"), 0.0)
        self.last = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds["scores" if stage == "scores" and done else "kernel"] += now - self.last
        self.last = now


def _grown(one: tuple[float, float], two: tuple[float, float], powers: tuple[int, int]) -> float:
    """At 1, of the sum of two powers, neither negative, through two points, or through the second alone."""
    (x, s), (y, t) = one, two
    p, q = powers
    high = (t / y**p - s / x**p) / (y ** (q - p) - x ** (q - p))
    low = t / y**p - high * y ** (q - p)
    if high < 0:
        return t / y**p
    return t / y**q if low < 0 else low + high


def scores_bytes(table: Scores, rows: Rows, folder: Path) -> int:
    """Of the files of so many rows, from the files of some and of half of them."""

    def of(n: int) -> int:
        with store.create(folder / f"scores-{n}", command={}, num_rows=n, shard_size=n) as run:
            run.append(0, dataclasses.replace(table.rows(0, n), index=np.arange(n)))
            return sum(shard.file.stat().st_size for shard in run.shards("scores"))

    return extrapolated(of, len(table), rows)


def extrapolated(of: Callable[[int], int], tried: int, rows: Rows) -> int:
    """Of all files, by the line through what ``of`` is for a file of ``tried`` rows and of half of them."""
    most, half = of(tried), tried // 2
    each = (most - of(half)) / (tried - half) if half else 0.0
    return round(each * rows.num + (most - each * tried) * -(-rows.num // rows.shard_size))


def highest(peaks: Sequence[int | None]) -> int | None:
    """None where one is not known."""
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known and len(known) == len(peaks) else None
