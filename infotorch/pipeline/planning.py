"""What a run of ``score`` will take, measured on trial before it is made."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infotorch import store
from infotorch.data import Samples, pictures_of
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest
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
from infotorch.pipeline.streaming import features_key, give_back_memory, part_size_of
from infotorch.pipeline.trials import MeasurePlan, extrapolated, highest, row_wise_trial, whole_kernel_trial
from infotorch.store.features import features_begun
from infotorch.store.files import refusals
from infotorch.task import Task

__all__ = ["ScorePlan", "score_plan"]

KEPT = 2048
"""Samples that are kept on trial."""


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
    def seconds(self) -> float | None:
        """Of all stages; None where those of one are not estimated."""
        every = [s for each in self.measures for s in each.seconds.values()] + [self.keeping_seconds or 0.0]
        return None if None in every else sum(s for s in every if s is not None)

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
    fidelity: int = DEFAULT_SUBSET,
) -> ScorePlan:
    """What ``score`` with the same arguments will take; nothing of it is kept, and the model is left as it is.

    The run's own code is timed on some batches and one part of the samples, which takes about 10 s, and longer where
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
        progress=progress, fidelity=fidelity, on_disk={"command": command, "features": features},
    )  # fmt: skip
    N = len(job.samples)
    begun = None if out is None else store.begun(out, **facts(job, command, shard_size, fidelity))
    done = 0 if begun is None else sum(stop - start for start, stop in begun.done())
    ready = _ready(job, on_disk=out is not None)
    place = features_place = None
    feature_folders: dict[int, Path] = {}
    if out is not None:
        root = Path(f"{out}.features.tmp" if features is None else features)
        place, features_place = _nearest(Path(out)), _nearest(root)
        streamed = [n for n, (_, form) in ready.items() if form.name == "primal"]
        feature_folders = {n: root if len(streamed) == 1 else root / str(n) for n in streamed}
    free = None if place is None else shutil.disk_usage(place).free
    other = features_place is not None and place is not None and features_place.stat().st_dev != place.stat().st_dev
    elsewhere = shutil.disk_usage(features_place).free if other and features_place is not None else None
    give_back_memory()
    before = resident()
    plan = ScorePlan(
        num_samples=N,
        measures=(),
        keeping_seconds=None,
        keeping_bytes=None if out is None else 0,
        memory_before=before,
        memory=before,
        disk_free=free,
        features_free=elsewhere,
        finished=done == N,
    )
    if plan.finished:
        return plan
    with refusals("store", features_place or Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(prefix=".infotorch-plan-", dir=features_place)
    with made as name:
        folder = Path(name)
        found = [
            _trial(job, n, ready.get(n), feature_folders.get(n), fidelity, N - done, before, folder / str(n), progress)
            for n in range(len(job.measures))
        ]
        peaks = [each.memory for each in found]
        if out is not None:
            there = begun is not None and all(shard.there for shard in begun.shards("samples"))
            seconds, size, peak = _keeping(job, folder / "kept", shard_size, before)
            plan = replace(plan, keeping_seconds=0.0 if there else seconds, keeping_bytes=0 if there else size)
            peaks.append(peak)
    plan = replace(plan, measures=found)
    scores = plan.disk("scores")
    if before is not None and scores is not None:
        peaks.append(before + 3 * scores)  # all of them at the end: of the file, in Arrow and in NumPy
    return replace(plan, memory=highest(peaks))


def _ready(job: Job, *, on_disk: bool) -> dict[int, tuple[Prepared, Form]]:
    """Of every measure of unique information, by place: its networks and its form, checked as by the run."""
    found = {}
    for place, measure in enumerate(job.measures):
        if isinstance(measure, UniqueInformation):
            prepared = measure.prepared(job.task, job.samples.x, job.samples.y)
            found[place] = prepared, measure.chosen(prepared, job.memory_limit, on_disk=on_disk)
    return found


def _trial(
    job: Job,
    place: int,
    ready: tuple[Prepared, Form] | None,
    features: Path | None,
    fidelity: int,
    scores_left: int,
    before: int | None,
    folder: Path,
    progress: Progress | None,
) -> MeasurePlan:
    """Of one measure."""
    measure, samples = job.measures[place], job.samples
    folder.mkdir()
    if progress:
        progress("planning", place, len(job.measures))
    if row_wise(measure):
        found = row_wise_trial(
            measure, job.task, samples, memory_limit=job.memory_limit, batch_size=job.batch_size, folder=folder
        )
        share = scores_left / len(samples)
        found = replace(found, seconds={name: s and s * share for name, s in found.seconds.items()})
    elif not isinstance(measure, UniqueInformation) or ready is None or per_group(measure):
        what = "groups of samples" if per_group(measure) else "it looks at all samples together"
        found = MeasurePlan(
            name=measure.name,
            form="all at once",
            why=what,
            seconds={measure.name: None},
            memory=None,
            disk={"scores": None},
            notes=["seconds and memory are not estimated: how they grow with the samples is not known"],
        )
    elif ready[1].name == "dual":
        found = whole_kernel_trial(measure, ready[0], samples, before=before, folder=folder)
    else:
        prepared, form = ready
        sketchings = [measure.sketching(task) for task in prepared.tasks]
        part_size = part_size_of(sketchings, prepared.num_outputs, job.batch_size)
        left = len(samples) * len(sketchings)
        if features is not None:
            left -= _features_there(job, sketchings, features, part_size)
        found = primal_trial(
            measure, prepared, form, samples, part_size=part_size, on_disk=features is not None,
            batch_size=job.batch_size, fidelity=fidelity, left=Left(features=left, scores=scores_left), before=before,
            folder=folder,
        )  # fmt: skip
    if progress:
        progress("planning", place + 1, len(job.measures))
    return found


def _features_there(job: Job, sketchings: Sequence[Sketching], folder: Path, part_size: int) -> int:
    """Samples times networks whose features are on disk."""
    found, x = 0, job.samples.x
    for place, sketching in enumerate(sketchings):
        key = features_key(sketching, job.samples, job.batch_size)
        there = features_begun(folder / f"network-{place}", key=key, num_rows=len(x), part_size=part_size)
        for part in there.parts() if there else ():
            found += part.stop - part.start if part.has(digest([x[part.start : part.stop]])) else 0
    return found


def _keeping(job: Job, folder: Path, shard_size: int, before: int | None) -> tuple[float, int, int | None]:
    """Seconds, bytes on disk and the peak of memory of keeping the samples, from some of them."""
    N, n = len(job.samples), min(len(job.samples), KEPT)
    folder.mkdir()

    def of(num: int) -> int:
        some = with_classes(job.task, _first(job.samples, num))
        place = tempfile.mkdtemp(dir=folder)
        with store.create(place, command={}, data=data_facts(some), num_rows=num, shard_size=num) as run:
            keep_samples(run, some, None)
            return sum(shard.file.stat().st_size for shard in run.shards("samples"))

    of(min(n, 32))  # warms up
    cost = measured(lambda: of(n))
    size = extrapolated(lambda num: cost.result if num == n else of(num), n, N)
    peak = None
    if cost.peak is not None and before is not None:
        pictures = pictures_of(job.samples.x[:1])
        of_all = 0 if pictures is None else N * pictures.nbytes
        peak = before + (cost.peak - before) * min(N, shard_size) // n + of_all
    return cost.seconds * N / n, size, peak


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


def _nearest(path: Path) -> Path:
    """The nearest folder that is there: on the disk where ``path`` will be, or is."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
