"""What a run of ``score`` will take, measured on trial before it is made."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from infotorch import store
from infotorch.capture.heap import give_back_memory
from infotorch.data import Samples
from infotorch.measures import UniqueInformation
from infotorch.measures.measure import Measure, Progress
from infotorch.measures.primal.form import Form
from infotorch.measures.primal.sketched import Sketching
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import DEFAULT_SUBSET
from infotorch.pipeline.keeping import keep_samples, with_classes
from infotorch.pipeline.meter import measured, resident
from infotorch.pipeline.primal_trial import Left, primal_trial
from infotorch.pipeline.provenance import data_facts
from infotorch.pipeline.scoring import Job, facts, job_of, per_group, row_wise
from infotorch.pipeline.streaming import (
    FeatureDtype,
    dtype_of,
    features_folder,
    features_key,
    hashes_of_inputs,
    part_size_of,
)
from infotorch.pipeline.trials import MeasurePlan, Rows, extrapolated, highest, row_wise_trial, whole_kernel_trial
from infotorch.store.features import Part, features_begun
from infotorch.store.files import nearest_folder, refusals
from infotorch.task import Task

__all__ = ["ScorePlan", "score_plan"]

KEPT = 1 << 28
"""Bytes of inputs of the samples that are kept on trial."""


@dataclass(frozen=True, kw_only=True)
class ScorePlan:
    """What a run will take, in seconds, memory and room on disk: estimates, from trials on some of its samples."""

    num_samples: int
    """N."""
    measures: Sequence[MeasurePlan]
    """In the order asked for."""
    keeping_seconds: float | None
    """For the samples and their digest in a run on disk; None without one."""
    keeping_bytes: int | None
    """Of the samples' files."""
    memory_before: int | None
    """Bytes of the process that are resident before the run: libraries, network and samples."""
    memory: int | None
    """Bytes that are resident at the run's peak, those from before included; None: not known."""
    disk_free: int | None
    """Bytes that are free where the run goes; None without one."""
    features_free: int | None
    """Bytes that are free where the features go, if that is another disk."""
    finished: bool = False
    """Whether the run is there, whole: it would be read, and nothing computed."""

    @property
    def known_seconds(self) -> float:
        """Of all stages whose seconds are estimated."""
        return (self.keeping_seconds or 0.0) + sum(s or 0.0 for each in self.measures for s in each.seconds.values())

    @property
    def seconds(self) -> float | None:
        """Of all stages; None where those of one are not estimated."""
        unknown = any(s is None for each in self.measures for s in each.seconds.values())
        return None if unknown else self.known_seconds

    def disk(self, *names: str) -> int | None:
        """Bytes of files of these names, "samples", "scores", "features" and "outputs"; None if one is not known."""
        every = [each.disk[name] for each in self.measures for name in names if name in each.disk]
        every += [self.keeping_bytes] if "samples" in names and self.disk_free is not None else []
        return None if None in every else sum(size for size in every if size is not None)

    @property
    def fits_disk(self) -> bool | None:
        """Whether all files have room; None where that is not known."""
        own, features = self.disk("samples", "scores"), self.disk("features", "outputs")
        if own is None or features is None or self.disk_free is None:
            return None
        if self.features_free is None:
            return own + features <= self.disk_free
        return own <= self.disk_free and features <= self.features_free


def score_plan(
    task: Task,
    data: Any,
    measures: str | Measure | Sequence[str | Measure],
    *,
    out: str | Path | None = None,
    memory_limit: int | None = None,
    batch_size: int = 256,
    shard_size: int = 65_536,
    progress: Progress | None = None,
    command: Mapping[str, Any] | None = None,
    features: str | Path | None = None,
    feature_dtype: FeatureDtype | None = None,
    fidelity: int = DEFAULT_SUBSET,
) -> ScorePlan:
    """What ``score`` with the same arguments will take; nothing of it is kept, and the model is left as it is.

    The run's own code is timed on some batches and one part of the samples, which takes 10 to 20 s, and longer where
    one batch does; from there on all but the exact form grows linearly. What it needs on disk meanwhile, at most one
    part of features, lies in a temporary folder beside them, which is deleted. Whatever else the machine does at the
    time is in the numbers.

    Args:
        task: As for ``score``, like all that follow.
        data: The data set, all of it: only trials are on some samples.
        measures: One, or several.
        out: Folder of the run, which is not touched; what is there of it already counts as done.
        memory_limit: Bytes that a measure may use.
        batch_size: Samples of a batch.
        shard_size: Samples of one file of the run.
        progress: Called with stage, steps done and steps in all.
        command: For the run's manifest.
        features: Folder of the features, which is not touched.
        feature_dtype: In which features are kept.
        fidelity: Samples on which a run with a sketch is compared with the exact scores.

    Raises:
        ConfigError: As ``score`` does, like the others.
        DataError: Data that ``score`` would refuse.
        StoreError: ``out`` or ``features`` hold something else, or nothing can be written beside them.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval())
        >>> plan = score_plan(task, (torch.ones(4, 3), torch.tensor([0, 1, 0, 1])), "gradient_norm")
        >>> plan.measures[0].form
        'row by row'
    """
    job = job_of(
        task, data, measures, out=out, memory_limit=memory_limit, batch_size=batch_size, shard_size=shard_size,
        feature_dtype=feature_dtype, progress=progress, fidelity=fidelity,
        on_disk={"command": command, "features": features},
    )  # fmt: skip
    N = len(job.samples)
    root = None if out is None else features_folder(out, features)
    begun = None if out is None else store.begun(out, **facts(job, command, shard_size, fidelity))
    done = 0 if begun is None else sum(stop - start for start, stop in begun.done())
    ready = _ready(job, on_disk=out is not None)
    give_back_memory()
    run = _Run(
        job=job,
        ready=ready,
        features=root,
        fidelity=fidelity,
        left=N - done,
        rows=Rows(num=N, shard_size=shard_size),
        before=resident(),
    )
    plan = run.nothing(None if out is None else Path(out))
    if plan.finished:
        return plan
    beside = None if root is None else nearest_folder(root)
    with refusals("store", beside or Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(prefix=".infotorch-plan-", dir=beside)
    with made as name:
        folder = Path(name)
        peaks = []
        # In the run's order: memory that a stage leaves behind is there in the next ones.
        if out is not None and not (begun and all(shard.there for shard in begun.shards("samples"))):
            seconds, size, peak = run.keeping(folder / "kept")
            plan = replace(plan, keeping_seconds=seconds, keeping_bytes=size)
            peaks.append(peak)
        found = [run.trial(place, folder / str(place)) for place in range(len(job.measures))]
        peaks += [each.memory for each in found]
    plan = replace(plan, measures=found)
    scores = plan.disk("scores")
    if run.before is not None and scores is not None:
        peaks.append(run.before + 3 * scores)  # all of them at the end: of the file, in Arrow and in NumPy
    return replace(plan, memory=highest(peaks))


def _ready(job: Job, *, on_disk: bool) -> dict[int, tuple[Prepared, Form]]:
    """Of every measure of unique information, by place: its networks and its form, checked as by the run."""
    found = {}
    for place, measure in enumerate(job.measures):
        if isinstance(measure, UniqueInformation):
            prepared = measure.prepared(job.task, job.samples.x[:2], job.samples.y)
            found[place] = prepared, measure.chosen(prepared, job.memory_limit, on_disk=on_disk)
    return found


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One that is to be planned."""

    job: Job
    ready: Mapping[int, tuple[Prepared, Form]]
    """Of the measures of unique information, by place."""
    features: Path | None
    """Folder of all features; None where nothing is kept on disk."""
    fidelity: int
    left: int
    """Samples whose scores are still to be computed."""
    rows: Rows
    before: int | None
    """Bytes of the process that are resident before it."""

    def nothing(self, out: Path | None) -> ScorePlan:
        """The plan without its measures."""
        free = elsewhere = None
        if out is not None and self.features is not None:
            own, other = nearest_folder(out), nearest_folder(self.features)
            free = shutil.disk_usage(own).free
            elsewhere = shutil.disk_usage(other).free if own.stat().st_dev != other.stat().st_dev else None
        return ScorePlan(
            num_samples=self.rows.num,
            measures=(),
            keeping_seconds=None if out is None else 0.0,
            keeping_bytes=None if out is None else 0,
            memory_before=self.before,
            memory=self.before,
            disk_free=free,
            features_free=elsewhere,
            finished=not self.left,
        )

    def trial(self, place: int, folder: Path) -> MeasurePlan:
        """Of one measure."""
        job, measure = self.job, self.job.measures[place]
        folder.mkdir()
        if job.progress:
            job.progress("planning", place, len(job.measures))
        if row_wise(measure):
            found = row_wise_trial(
                measure, job.task, job.samples, memory_limit=job.memory_limit, batch_size=job.batch_size,
                rows=self.rows, folder=folder,
            )  # fmt: skip
            share = self.left / self.rows.num
            found = replace(found, seconds={name: s and s * share for name, s in found.seconds.items()})
        elif not isinstance(measure, UniqueInformation) or per_group(measure):
            found = MeasurePlan(
                name=measure.name,
                form="all at once",
                why="groups of samples" if per_group(measure) else "it looks at all samples together",
                seconds={measure.name: None},
                memory=None,
                disk={"scores": None},
                notes=["seconds and memory are not estimated: how they grow with the samples is not known"],
            )
        elif self.ready[place][1].name == "dual":
            found = whole_kernel_trial(measure, self.ready[place][0], job.samples, rows=self.rows, folder=folder)
        else:
            found = self.primal(place, measure, folder)
        if job.progress:
            job.progress("planning", place + 1, len(job.measures))
        return found if self.features else replace(found, disk={})

    def primal(self, place: int, measure: UniqueInformation, folder: Path) -> MeasurePlan:
        """Of a measure in two passes."""
        prepared, form = self.ready[place]
        job, sketchings = self.job, [measure.sketching(task) for task in prepared.tasks]
        part_size = part_size_of(sketchings, prepared.num_outputs, job.batch_size)
        left = Left(
            features=len(sketchings) * self.rows.num,
            parts=len(sketchings) * -(-self.rows.num // part_size),
            scores=self.left,
        )
        if self.features is not None:
            there = [(part.stop - part.start) for part in _there(job, sketchings, self.features, part_size)]
            left = replace(left, features=left.features - sum(there), parts=left.parts - len(there))
        return primal_trial(
            measure, prepared, form, job.samples, part_size=part_size, on_disk=self.features is not None,
            batch_size=job.batch_size, fidelity=self.fidelity, dtype=job.feature_dtype, left=left, rows=self.rows,
            folder=folder,
        )  # fmt: skip

    def keeping(self, folder: Path) -> tuple[float, int, int | None]:
        """Seconds, bytes on disk and the peak of memory of keeping the samples, from some of them."""
        job, N = self.job, self.rows.num
        n = min(N, 256 + KEPT // job.samples.x[:1].nbytes)
        folder.mkdir()

        def of(num: int) -> int:
            some = with_classes(job.task, _first(job.samples, num))
            place = tempfile.mkdtemp(dir=folder)
            with store.create(place, command={}, data=data_facts(some), num_rows=num, shard_size=num) as run:
                keep_samples(run, some, None)
                return sum(shard.file.stat().st_size for shard in run.shards("samples"))

        of(min(n, 32))  # warms up
        costs = {num: measured(partial(of, num)) for num in (n // 2, n) if num}
        size = extrapolated(lambda num: costs[num].result, n, self.rows)
        one, peak = costs.get(n // 2, costs[n]).peak, costs[n].peak
        if one is not None and peak is not None and n > 1:
            peak += max(0, peak - one) * (min(N, self.rows.shard_size) - n) // (n - n // 2)
        return costs[n].seconds * N / n, size, peak


def _there(job: Job, sketchings: Sequence[Sketching], folder: Path, part_size: int) -> Iterator[Part]:
    """Parts whose features are on disk, of every network."""
    x = job.samples.x
    for place, sketching in enumerate(sketchings):
        dtype = job.feature_dtype or dtype_of(sketching.task)
        key = features_key(sketching, job.samples, job.batch_size, dtype)
        begun = features_begun(folder / f"network-{place}", key=key, num_rows=len(x), part_size=part_size)
        for part in begun.parts() if begun else ():
            if part.has(hashes_of_inputs(x, part)):
                yield part


def _first(samples: Samples, num: int) -> Samples:
    rows = slice(0, num)
    return replace(
        samples,
        x=samples.x[rows],
        y=samples.y[rows],
        ids=samples.ids[rows],
        images=None if samples.images is None else samples.images[rows],
        texts=None if samples.texts is None else samples.texts[rows],
        metadata={name: values[rows] for name, values in samples.metadata.items()},
    )
