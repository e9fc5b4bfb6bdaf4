"""What two passes over a data set take, from trials: some batches of features, and one part of moments and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from infotorch.blocks.features import Features
from infotorch.capture.heap import give_back_memory
from infotorch.data import Samples
from infotorch.errors import NumericsError
from infotorch.measures import UniqueInformation
from infotorch.measures.information import Members
from infotorch.measures.primal.form import Form
from infotorch.measures.primal.moments import Moments
from infotorch.measures.primal.stream import Stream, Tests
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import FEWEST, MOST_ROWS
from infotorch.pipeline.held import HELD, HeldMemory
from infotorch.pipeline.meter import measured, resident
from infotorch.pipeline.ranks import ALONE
from infotorch.pipeline.streaming import (
    FeatureDtype,
    Network,
    TwoPasses,
    dtype_of,
    hashes_of_inputs,
    moments_on_disk,
    stored,
)
from infotorch.pipeline.trials import ExactTrial, MeasurePlan, Rows, exact_trial, highest, scores_bytes
from infotorch.store.features import FeatureStore, Part
from infotorch.table import Scores

__all__ = ["Left", "primal_trial"]

FEATURES = 3.0
"""Seconds of timed batches from which the first pass's rate is taken."""
SCORES = 4.0
"""Seconds that scores of one part are tried for; of a part that takes longer, fewer rows are scored."""
PILOT = 32
"""Samples whose scores warm up, and tell how many can be tried."""
LARGEST = 2048
"""k of the largest eigendecomposition that is made; beyond, seconds are taken to grow with k cubed."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is to be done, which is less than everything for a run that was begun before."""

    features: int
    """Samples times networks whose features are to be made."""
    parts: int
    """In so many files."""
    scores: int
    """Samples whose scores are to be computed."""


@dataclass(kw_only=True)
class _Tried:
    """What the trial of one network came to, so far."""

    features: float = 0.0
    """Seconds of a sample, like the others but for ``eigen``."""
    writing: float = 0.0
    moments: float = 0.0
    eigen: float = 0.0
    """Seconds of the whole eigendecomposition."""
    scores: float | None = None
    peaks: list[int | None]
    table: Scores | None = None
    directions: float | None = None
    """That training uses."""
    disk: dict[str, tuple[int, int]]
    """Bytes of features and outputs, of a sample and of the head of a file."""
    exact: ExactTrial | None = None
    """Of the form that the run compares with."""
    notes: list[str]


def primal_trial(
    measure: UniqueInformation,
    ready: Prepared,
    form: Form,
    samples: Samples,
    *,
    part_size: int,
    on_disk: bool,
    batch_size: int,
    fidelity: int,
    dtype: FeatureDtype | None,
    left: Left,
    rows: Rows,
    folder: Path,
) -> MeasurePlan:
    """Of the primal form.

    Args:
        measure: In its primal form, or ``"auto"`` that came to it.
        ready: What ``measure.prepared`` returned.
        form: What ``measure.chosen`` returned.
        samples: The data set.
        part_size: Samples of a part.
        on_disk: Whether features are kept on disk; else all are in memory at once.
        batch_size: Samples of one forward pass.
        fidelity: Samples on which the run compares with the exact form, 0 for none.
        dtype: In which features are kept, None for the default.
        left: What is to be done.
        rows: Of the scores' files.
        folder: For what is written on trial.
    """
    N, L, C = len(samples), len(ready.tasks), ready.num_outputs
    M = 0 if ready.x_test is None else len(ready.x_test)
    part = Part(folder=folder, number=0, start=0, stop=min(N, part_size))
    compared = _compared(fidelity, N, M, C) if on_disk and not form.is_exact else None
    tried = _tried(measure, ready, form, samples, part, batch_size, dtype, M, on_disk, compared)
    each = C if measure.layers != "last" else 1  # rows of features of a sample
    seconds: dict[str, float | None] = {"features": left.features * (tried.features + tried.writing)}
    if M:
        seconds["test features"] = L * _tests(tried, M, M * each > form.width)
    seconds["moments"] = L * N * tried.moments
    seconds["eigendecomposition"] = L * tried.eigen
    seconds["scores"] = None if tried.scores is None else L * left.scores * tried.scores
    if compared is not None:
        n, m = compared
        seconds["fidelity"] = _fidelity(tried, n, m, m * each > form.width)
    memory = highest(tried.peaks)
    if not on_disk and memory is not None:
        features = N * tried.disk["features"][0]
        memory += max(features, features if measure.loss == "mse" else 2 * features)
    elif memory is not None and left.parts > 1:
        memory += HELD
    disk: dict[str, int | None] = {}
    if on_disk:
        disk = {name: left.features * row + left.parts * head for name, (row, head) in tried.disk.items()}
    disk["scores"] = None if tried.table is None else scores_bytes(tried.table, rows, folder)
    return MeasurePlan(
        name=measure.name,
        form="primal",
        why=_why(measure, form, on_disk),
        seconds=seconds,
        memory=memory,
        disk=disk,
        samples_per_second=1 / (tried.features + tried.writing),
        effective_dimension=tried.directions,
        notes=tried.notes,
    )


def _why(measure: UniqueInformation, form: Form, on_disk: bool) -> str:
    asked = "asked for" if measure.form == "primal" else form.why
    size = f"{form.width:,} features, {'not sketched' if form.is_exact else 'sketched'}"
    return f"{asked}: {size}, {'on disk' if on_disk else 'in memory'}"


def _tests(tried: _Tried, num_test: int, many: bool) -> float:
    """Seconds of test features; of ``many`` their second moment is taken, and its root."""
    return num_test * tried.features + (num_test * tried.moments + tried.eigen if many else 0.0)


def _compared(fidelity: int, N: int, M: int, C: int) -> tuple[int, int] | None:
    """Samples and test samples on which both forms are compared, None where they are not."""
    most = max(2, MOST_ROWS // C)
    n = min(N, most, fidelity)
    return None if not fidelity or (n < FEWEST and n < fidelity) else (n, min(M, most))


def _fidelity(tried: _Tried, n: int, m: int, many: bool) -> float | None:
    """Seconds of both forms on n samples and m test samples; None where those of either are not known."""
    exact = tried.exact
    assert exact is not None
    if tried.scores is None or None in exact.seconds.values():
        tried.notes.append(f"seconds of fidelity are not estimated: {exact.why_not or 'those of the scores are not'}")
        return None
    sketched = n * (tried.features + tried.moments + tried.scores) + tried.eigen + _tests(tried, m, many)
    return sketched + sum(s for s in exact.seconds.values() if s is not None)


def _tried(
    measure: UniqueInformation,
    ready: Prepared,
    form: Form,
    samples: Samples,
    part: Part,
    batch_size: int,
    dtype: FeatureDtype | None,
    num_test: int,
    on_disk: bool,
    compared: tuple[int, int] | None,
) -> _Tried:
    """Of the first network, all samples taken to be there in training."""
    stream = measure.stream(ready.tasks[0], ready.who, form.room)
    before = resident()
    batches, rate, peaks = _batches(stream, samples, part.stop, batch_size)
    most = highest(peaks)
    everybody = torch.ones(len(samples), dtype=torch.bool)
    writing = measured(partial(_write, part, batches, batch_size, samples, dtype or dtype_of(ready.tasks[0])))
    tried = _Tried(features=rate, peaks=peaks, notes=[], disk=_sizes(part))
    tried.writing = writing.seconds / part.stop if on_disk else 0.0
    test_rows = None if not num_test else _test_rows(stream, batches[0], num_test)
    batches.clear()
    store = FeatureStore(folder=part.folder, num_rows=part.stop, part_size=part.stop)
    adding = measured(partial(moments_on_disk, store, stream, samples, everybody, ALONE, HeldMemory(), None))
    tried.moments = adding.seconds / part.stop
    tried.peaks += [writing.peak, adding.peak]
    kept = int(ready.who.kept.sum())
    moments = replace(adding.result, num_samples=kept)
    for sums in (moments.second, moments.cross):
        sums *= kept / part.stop  # as those of all samples are, whose largest eigenvalue decides how steps are taken
    try:
        moments = _solved(moments, tried, stream)
        if compared is not None:
            tried.exact = exact_trial(measure, ready, samples, *compared)
            tried.peaks.append(tried.exact.memory)
            if most is not None and before is not None and tried.exact.after is not None:
                tried.peaks.append(tried.exact.after + most - before)  # a batch on top of what the exact form leaves
        two = TwoPasses(
            measure=measure,
            task=ready.tasks[0],
            prepared=replace(ready, who=Members(kept=everybody, groups=None)),
            samples=samples,
            networks=[
                Network(
                    stream=stream,
                    store=store,
                    moments=moments,
                    tests=None if test_rows is None else Tests(rows=test_rows, num_test=num_test),
                )
            ],
            memory_limit=form.room,
            ranks=ALONE,
            held=HeldMemory(),
        )
        _score(two, part, tried)
    except NumericsError as error:
        tried.notes.append(f"seconds of scores are not estimated: {error}")
    return tried


def _batches(
    stream: Stream, samples: Samples, rows: int, batch_size: int
) -> tuple[list[Features], float, list[int | None]]:
    """Features of batches, until they took long enough to tell the seconds of a sample; and the peaks of memory."""
    warm = measured(partial(stream.features, samples.x[: min(rows, batch_size)]))
    found, peaks, seconds, done = [warm.result], [warm.peak], warm.seconds, len(warm.result.rows)
    if seconds < FEATURES:
        found, seconds, done = [], 0.0, 0
        while done < rows and seconds < FEATURES:
            cost = measured(partial(stream.features, samples.x[done : min(rows, done + batch_size)]))
            found.append(cost.result)
            peaks.append(cost.peak)
            seconds, done = seconds + cost.seconds, done + len(cost.result.rows)
    return found, seconds / done, peaks


def _write(part: Part, batches: Sequence[Features], batch_size: int, samples: Samples, dtype: FeatureDtype) -> None:
    """A part as the first pass writes it; the features of the batches again and again."""

    def again() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place, start in enumerate(range(0, part.stop, batch_size)):
            some, size = batches[place % len(batches)], min(batch_size, part.stop - start)
            yield stored(some.rows[:size], dtype), some.outputs[:size].numpy(force=True)

    part.write(again(), hashes_of_inputs(samples.x, part))
    give_back_memory()


def _sizes(part: Part) -> dict[str, tuple[int, int]]:
    found = {}
    for name, file in (("features", part.file), ("outputs", part.outputs_file)):
        values = np.load(file, mmap_mode="r")
        found[name] = values[0].nbytes, file.stat().st_size - values.nbytes
    return found


def _test_rows(stream: Stream, some: Features, num_test: int) -> torch.Tensor:
    """As many rows as the run's test samples come to, of some training samples."""
    rows = stream.sketching.test_rows(some)
    wanted, k = num_test * len(rows) // len(some.rows), rows.shape[1]
    if wanted > k:
        wanted, rows = k, rows.to(torch.float64)  # as the root of their second moment is
    return rows.repeat(-(-wanted // len(rows)), 1)[:wanted].contiguous()


def _solved(moments: Moments, tried: _Tried, stream: Stream) -> Moments:
    """With their eigendecomposition, or, where that is large, with anything of its size, which takes as long to use."""
    k = len(moments.second)
    size = min(k, LARGEST)
    block = replace(moments, second=moments.second[:size, :size].contiguous(), cross=moments.cross[:size])
    cost = measured(lambda: block.eigen)
    tried.eigen = cost.seconds * (k / size) ** 3
    tried.peaks.append(None if cost.peak is None else cost.peak + 4 * 8 * (k * k - size * size))
    if size == k:
        tried.directions = block.effective_dimension(stream.plan.full[-1])
        tried.notes += stream.warnings(block)
        return block
    tried.notes.append(f"the eigendecomposition is that of {size:,} features times {(k / size) ** 3:.1f}, for {k:,}")
    values = moments.second.diagonal().sort().values
    eye = torch.eye(k, dtype=values.dtype, device=values.device)
    vars(moments)["eigen"] = replace(block.eigen, values=values, vectors=eye)  # where cached_property keeps it
    return moments


def _score(two: TwoPasses, part: Part, tried: _Tried) -> None:
    few = min(part.stop, PILOT)
    two.scores(0, few)
    pilot = measured(partial(two.scores, 0, few))
    rows = max(few, min(part.stop, int(few * SCORES / pilot.seconds)))
    cost = measured(partial(two.scores, 0, rows))
    whole = cost.seconds
    if rows < part.stop:
        slope = max(0.0, cost.seconds - pilot.seconds) / (rows - few) if rows > few else cost.seconds / rows
        whole += slope * (part.stop - rows)
        tried.notes.append(f"scores were timed on {rows:,} of the {part.stop:,} samples of a part")
    tried.scores, tried.table = whole / part.stop, cost.result
    unread = (part.stop - rows) * tried.disk["features"][0]
    tried.peaks.append(None if cost.peak is None else cost.peak + unread)
