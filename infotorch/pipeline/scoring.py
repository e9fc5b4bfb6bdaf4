"""From a task and its data to scores, in memory or as a run on disk that any crash leaves resumable."""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from torch import Tensor

from infotorch import errors, measures, store
from infotorch.data import Samples, batches_of, inputs_of, samples_of
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest_of_model
from infotorch.measures.measure import Measure, Progress
from infotorch.measures.primal.form import Form
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import DEFAULT_SUBSET
from infotorch.pipeline.keeping import keep_samples, near, with_classes
from infotorch.pipeline.provenance import data_facts, environment, outputs_digest, task_facts
from infotorch.pipeline.ranks import ALONE, Ranks
from infotorch.pipeline.shared_run import SharedRun, shared_run
from infotorch.pipeline.streaming import FeatureDtype, TwoPasses, features_folder, remove_features, two_passes
from infotorch.pipeline.tables import joined, of_batch, stacked
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["chosen_measures", "score"]

Notes = Mapping[str, Any] | Callable[[Scores], Mapping[str, Any]]


def score(
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
    notes: Notes | None = None,
    features: str | Path | None = None,
    feature_dtype: FeatureDtype | None = None,
    fidelity: int = DEFAULT_SUBSET,
    group: Any = None,
) -> Scores:
    """Scores of every sample of ``data``, the columns of all ``measures`` side by side.

    With ``out``, scores and samples are also kept there, as a run for ``infotorch.store`` and the report. The same
    command writes the same bytes, file by file, also when it was killed and started again; a finished run is read, not
    computed again. Which samples form a batch and a shard follows from the data, ``batch_size`` and ``shard_size``
    alone.

    Args:
        task: Model, loss and parameters; the model is left as it is.
        data: Whatever ``infotorch.data.samples_of`` takes: (x, y), a map-style Dataset, a DataLoader that doesn't
            shuffle, or Samples. Of ``infotorch.data.streamed(loader)`` inputs are read a part at a time, in every pass.
        measures: Names out of ``infotorch.measures.REGISTRY``, or measures with their options; one, or a list. One
            whose attribute ``row_wise`` is true gets the data batch by batch, any other all of it at once. One whose
            attribute ``per_group`` is true has a row a group, so it goes alone and without ``out``. A measure's
            ``test_data`` may be a tensor of inputs or whatever ``infotorch.data.inputs_of`` takes.
        out: Folder of the run: new, empty, or begun by this very command.
        memory_limit: Bytes that a measure may use.
        batch_size: Samples that a row-wise measure gets at once.
        shard_size: Samples of one file of the run.
        progress: Called with stage, steps done and steps in all.
        command: What else the scores follow from, for the run's manifest; the options given here are added.
        notes: What the report shows besides scores, by name, or a function of the scores that returns it; the function
            is not called for a run that was finished before. Both go with ``out``.
        features: Folder in which the features of ``form="primal"`` stay, for other labels, times and ridges of the same
            network and inputs; goes with ``out``. Default: ``<out>.features.tmp``, deleted when the run is whole.
        feature_dtype: In which features are kept. Default: float64 for a network in float64, else float32; bfloat16
            takes half the disk, and rounds each feature by up to 0.4 %.
        fidelity: Samples on which a run with a sketch is compared with the exact scores, 0 for none. What comes of it
            is in the run's note "fidelity", in its report and, where it is poor, in a warning.
        group: ``torch.distributed`` process group that shares the work, such as ``dist.group.WORLD``: each of its
            processes makes this very call, with ``out`` on a disk that all see. Any number of processes writes the same
            bytes, on one kind of machine with one number of threads. Measures that look at all samples at once are the
            first process's work. Default: this process alone.

    Returns:
        The scores, in the order of the data, or of the groups. With ``out``, those on disk.

    Raises:
        ConfigError: An unknown or doubled measure, options out of range, options that go with ``out`` without it, or
            processes of ``group`` that were given different things.
        DataError: Data without fixed order, without samples, or with one that is not finite.
        StoreError: ``out`` can't be written, is being written, or holds something else; what is there stays resumable.
    """
    job = job_of(
        task, data, measures, out=out, memory_limit=memory_limit, batch_size=batch_size, shard_size=shard_size,
        feature_dtype=feature_dtype, progress=progress, fidelity=fidelity, group=group,
        on_disk={"command": command, "notes": notes, "features": features, "group": group},
    )  # fmt: skip
    samples = job.samples
    if any(map(per_group, job.measures)):
        x = samples.all_inputs("score")
        return job.measures[0].scores(task, x, samples.y, memory_limit=memory_limit, progress=progress)
    if out is None:
        whole = job.whole()
        parts = [job.part(whole, start, stop) for start, stop in _ranges(0, len(samples), shard_size)]
        return stacked(parts)
    folder = features_folder(out, features)
    made_of = facts(job, command, shard_size, fidelity)
    _check_same(job.ranks, made_of, out)
    with shared_run(out, job.ranks, store.create(out, **made_of)) as run:
        if run.do(lambda writer: not writer.finished):
            run.do(lambda writer: keep_samples(writer, with_classes(task, samples), job.progress))
            _keep_scores(run, job, folder, fidelity)
            if features is None:
                run.do(lambda writer: remove_features(folder))
        scores = run.scores()
        run.do(lambda writer: _finish(writer, notes, scores))
        return scores


def _finish(run: store.RunWriter, notes: Notes | None, scores: Scores) -> None:
    """Writes the notes; a function of the scores is called where a file is missing that was not made again by now."""
    if isinstance(notes, Mapping) or (notes is not None and not run.finished):
        for name, payload in (notes if isinstance(notes, Mapping) else notes(scores)).items():
            run.note(name, payload)
    run.finish()


def job_of(
    task: Task,
    data: Any,
    measures: str | Measure | Sequence[str | Measure],
    *,
    out: str | Path | None,
    memory_limit: int | None,
    batch_size: int,
    shard_size: int,
    feature_dtype: FeatureDtype | None,
    progress: Progress | None,
    fidelity: int,
    on_disk: Mapping[str, Any],
    group: Any = None,
) -> "Job":
    """What ``score`` is asked for, checked; ``on_disk`` are the options that go with ``out``."""
    for name, size in (("batch_size", batch_size), ("shard_size", shard_size)):
        if size < 1:
            raise errors.ConfigError(f"score: {name} must be at least 1; got {size}. Choose a positive number.")
    for name, given in on_disk.items():
        if given is not None and out is None:
            raise errors.ConfigError(f"score: {name} belongs to a run on disk; got no out. Give out, or leave it out.")
    errors.check_choice("score", "feature_dtype", feature_dtype, (None, *get_args(FeatureDtype)))
    if fidelity and fidelity < 2:
        raise errors.ConfigError(f"score: fidelity must be 0 or at least 2; got {fidelity}. Give 256, or 0 for none.")
    chosen = chosen_measures(measures)
    _check_groups(chosen, out)
    ranks = ALONE if group is None else Ranks(group)
    return Job(
        task=task,
        samples=near(task, samples_of(data)),
        measures=chosen,
        memory_limit=memory_limit,
        batch_size=batch_size,
        feature_dtype=feature_dtype,
        ranks=ranks,
        progress=progress if ranks.is_first else None,
    )


def facts(job: "Job", command: Mapping[str, Any] | None, shard_size: int, fidelity: int) -> dict[str, Any]:
    """What a run on disk follows from: the arguments of ``store.create``."""
    outputs = outputs_digest(job.task, job.samples)  # before any look at the model, which may keep what it last saw
    options: dict[str, Any] = {
        "measures": [{"name": measure.name, **measure.config()} for measure in job.measures],
        "memory_limit": job.memory_limit,
        "batch_size": job.batch_size,
        "shard_size": shard_size,
        "task": task_facts(job.task),
    }
    if fidelity != DEFAULT_SUBSET:
        options["fidelity"] = fidelity
    if job.feature_dtype is not None:
        options["feature_dtype"] = job.feature_dtype
    return {
        "command": {**(command or {}), "score": options},
        "num_rows": len(job.samples),
        "shard_size": shard_size,
        "data": data_facts(job.samples),
        "provenance": {"parameters": digest_of_model(job.task.model), "outputs": outputs, **environment(job.task)},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be computed, and how much of it at once."""

    task: Task
    samples: Samples
    measures: Sequence[Measure]
    memory_limit: int | None
    batch_size: int
    feature_dtype: FeatureDtype | None
    ranks: Ranks
    progress: Progress | None

    def streamed(self) -> tuple[int, UniqueInformation, Prepared, Form] | None:
        """The place of the measure that takes two passes over features on disk, and what it needs."""
        for place, measure in enumerate(self.measures):
            if isinstance(measure, UniqueInformation):
                x = self.samples.x[:2]
                self.task.split((x, self.samples.y[:2]))
                ready = measure.prepared(self.task, x, self.samples.y)
                form = measure.chosen(ready, self.memory_limit, on_disk=True)
                return (place, measure, ready, form) if form.name == "primal" else None
        return None

    def whole(self, but: Container[int] = ()) -> dict[int, Scores]:
        """Scores of all samples by the measures that look at all of them together, by the measure's place."""
        found = {}
        for place, measure in enumerate(self.measures):
            if place not in but and not row_wise(measure):
                found[place] = self.ranks.first(functools.partial(self._by_all, measure))
        if len(found) == len(self.measures):
            joined(list(found.values()))  # columns that clash are refused before anything is written
        return found

    def part(
        self, whole: Mapping[int, Scores], start: int, stop: int, passes: Mapping[int, TwoPasses] | None = None
    ) -> Scores:
        """All scores of rows [start, stop): of ``whole``, of ``passes`` and, batch by batch, of row-wise measures."""

        def by(place: int, measure: Measure) -> Scores:
            if place in whole:
                return whole[place].rows(start, stop)
            if passes and place in passes:
                return passes[place].scores(start, stop)
            return self._by_batches(measure, start, stop)

        return joined([by(place, measure) for place, measure in enumerate(self.measures)])

    def _by_batches(self, measure: Measure, start: int, stop: int) -> Scores:
        def scores_of(batches: Sequence[tuple[int, int]]) -> list[Scores]:
            inputs = batches_of(self.samples.x, batches[0][0], batches[-1][1], self.batch_size)
            found = []
            for (first, last), x in zip(batches, inputs, strict=True):
                with of_batch(first):
                    scores = self._scores(measure, x, self.samples.y[first:last], None)
                found.append(_checked(measure, scores, first, last))
                if self.progress:
                    self.progress(measure.name, last, len(self.samples))
            return found

        return stacked(self.ranks.each(scores_of, list(_ranges(start, stop, self.batch_size))))

    def _by_all(self, measure: Measure) -> Scores:
        scores = self._scores(measure, self.samples.all_inputs(measure.name), self.samples.y, self.progress)
        return _checked(measure, scores, 0, len(self.samples))

    def _scores(self, measure: Measure, x: Tensor, y: Tensor, progress: Progress | None) -> Scores:
        return measure.scores(self.task, x, y, memory_limit=self.memory_limit, progress=progress)


def _check_same(ranks: Ranks, facts: Mapping[str, Any], out: str | Path) -> None:
    """Refuses processes that don't compute the same scores."""
    machine = {name: facts["provenance"][name] for name in ("versions", "threads", "flags")}
    devices = sorted(set(facts["provenance"]["devices"].values()))  # by name: each GPU of one kind has its own number
    numbers = {name: facts["provenance"][name] for name in ("parameters", "outputs")}
    ranks.agree("score", {"out": str(out), **machine, "devices": devices, **facts, "provenance": numbers})


def _keep_scores(run: SharedRun, job: Job, folder: Path, fidelity: int) -> None:
    """Computes and writes the scores' shards that are not there yet."""
    missing = run.missing()
    if not missing:
        return
    told, passes = [], {}
    with contextlib.ExitStack() as opened:
        if streamed := job.streamed():
            place, measure, ready, form = streamed
            told = _told(job, form.told(measure.form))
            two = opened.enter_context(
                two_passes(
                    measure,
                    job.task,
                    ready,
                    job.samples,
                    folder,
                    batch_size=job.batch_size,
                    feature_dtype=job.feature_dtype,
                    memory_limit=form.room,
                    ranks=job.ranks,
                    progress=job.progress,
                )
            )
            passes[place] = two
            noted = run.do(lambda writer: list(writer.notes()))
            compares = bool(fidelity) and not form.is_exact and "fidelity" not in noted
            if compares:  # before the scores: a run with all scores has it
                found = job.ranks.first(lambda: two.fidelity(fidelity))
                told += _told(job, found.warnings)
            elif "fidelity" not in noted:
                told += _told(job, two.warnings)
            if told and (compares or "warnings" not in noted):
                run.note("warnings", told)
            if compares:
                run.note("fidelity", [found.note()])
        whole = job.whole(but=passes)
        for start, stop in missing:
            run.append(start, job.part(whole, start, stop, passes))


def _told(job: Job, texts: list[str]) -> list[str]:
    """What a reader must know before using the scores, said here and now."""
    for text in texts if job.ranks.is_first else ():
        warnings.warn(f"UniqueInformation: {text}", stacklevel=4)
    return texts


def chosen_measures(asked: str | Measure | Sequence[str | Measure]) -> list[Measure]:
    """The measures as objects, all different."""
    chosen: list[Measure] = []
    many: list[Any] = list(asked) if isinstance(asked, (list, tuple)) else [asked]
    for measure in many:
        if isinstance(measure, str):
            errors.check_choice("score", "measure", measure, measures.REGISTRY)
            chosen.append(measures.REGISTRY[measure]())
        elif isinstance(measure, type) or not all(hasattr(measure, name) for name in ("name", "config", "scores")):
            got = f"the class {measure.__name__}" if isinstance(measure, type) else type(measure).__name__
            raise errors.ConfigError(
                f"score: measures must be names or measures; got {got}. Choose of {', '.join(measures.REGISTRY)}."
            )
        else:
            chosen.append(_with_inputs(measure))
    if sum(isinstance(measure, UniqueInformation) for measure in chosen) > 1:
        raise errors.ConfigError(
            "score: unique_information must be asked for once, for its columns have one name; got it several times. "
            "Give all times in one measure, or make a run for each."
        )
    if not chosen:
        raise errors.ConfigError(f"score: there must be a measure; got none. Choose of {', '.join(measures.REGISTRY)}.")
    for place, measure in enumerate(chosen):
        if any(measure.name == other.name and measure.config() == other.config() for other in chosen[:place]):
            raise errors.ConfigError(f"score: measures must differ; got {measure.name!r} twice. Leave one out.")
    return chosen


def _with_inputs(measure: Measure) -> Measure:
    """The measure with the inputs alone as its test data, out of whatever holds them."""
    tests = getattr(measure, "test_data", None)
    if tests is None or isinstance(tests, Tensor) or not hasattr(measure, "__dataclass_fields__"):
        return measure
    return dataclasses.replace(cast(Any, measure), test_data=inputs_of(tests))


def _check_groups(chosen: Sequence[Measure], out: str | Path | None) -> None:
    """Refuses rows of groups beside rows of samples."""
    for measure in chosen:
        if per_group(measure) and (out is not None or len(chosen) > 1):
            got = "out" if out is not None else f"{len(chosen)} measures"
            raise errors.ConfigError(
                f"score: {measure.name!r} with groups has one row a group, no run and no measure of samples beside it; "
                f"got {got}. Score the groups alone, without out."
            )


def per_group(measure: Measure) -> bool:
    """Whether there is one row a group of samples."""
    return bool(getattr(measure, "per_group", False))


def row_wise(measure: Measure) -> bool:
    """Whether a sample's scores follow from that sample alone."""
    return bool(getattr(measure, "row_wise", False))


def _checked(measure: Measure, scores: Scores, start: int, stop: int) -> Scores:
    """``scores`` of rows [start, stop) under their places in the data set."""
    if not np.array_equal(scores.index, np.arange(stop - start)):
        raise errors.ConfigError(
            f"score: {measure.name!r} must score every sample once, {stop - start} in all; got {len(scores)} rows. "
            "Call the measure's own scores(task, x, y) for scores of anything else."
        )
    return dataclasses.replace(scores, index=np.arange(start, stop))


def _ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + size, stop)) for first in range(start, stop, size))
