"""Two passes over a data set of any size: features to disk, then scores from them, a part of the samples at a time."""

import contextlib
import ctypes
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infotorch.blocks.features import Features
from infotorch.data import Samples
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest, digest_of_model
from infotorch.measures.information import Members
from infotorch.measures.measure import Progress
from infotorch.measures.primal.moments import Moments
from infotorch.measures.primal.sketched import Sketching
from infotorch.measures.primal.stream import Stream, Tests
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import Fidelity, fidelity
from infotorch.pipeline.provenance import environment, outputs_digest, task_facts
from infotorch.pipeline.tables import of_batch, stacked
from infotorch.store.features import Dtype, FeatureStore, Part, feature_store
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["TwoPasses", "two_passes"]

PART_BYTES = 1 << 27
"""Of the features of one part in float64, which are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class TwoPasses:
    """Features of all samples on disk, under every network, and their moments."""

    measure: UniqueInformation
    task: Task
    prepared: Prepared
    samples: Samples
    networks: Sequence["Network"]
    memory_limit: int
    progress: Progress | None = None

    def fidelity(self, num_samples: int) -> Fidelity:
        """Sketched against exact scores on some of the samples, under the first network."""
        first = self.networks[0]
        return fidelity(
            self.measure,
            self.task,
            self.samples,
            width=first.stream.sketching.width,
            num_outputs=self.prepared.num_outputs,
            x_test=self.prepared.x_test,
            effective_dimension=first.moments.effective_dimension(first.stream.plan.full[-1]),
            memory_limit=self.memory_limit,
            num_samples=num_samples,
            progress=self.progress,
        )

    def scores(self, start: int, stop: int) -> Scores:
        """Scores of rows [start, stop)."""
        y, kept = self.samples.y, self.prepared.who.kept
        tables = []
        for shares in zip(*(network.store.between(start, stop) for network in self.networks), strict=True):
            _, first, last = shares[0]
            rows = slice(first, last)
            who = Members(kept=kept[rows], groups=None)
            members = [
                network.stream.result(_features(part, first, last, y), y[rows], who, network.moments, network.tests)
                for network, (part, first, last) in zip(self.networks, shares, strict=True)
            ]
            tables.append(self.measure.table(members, self.prepared.tasks[0], y[rows], np.arange(first, last)))
            give_back_memory()
            if self.progress:
                self.progress("scores", last, len(y))
        return stacked(tables)


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network's features."""

    stream: Stream
    store: FeatureStore
    moments: Moments
    tests: Tests | None


@contextlib.contextmanager
def two_passes(
    measure: UniqueInformation,
    task: Task,
    prepared: Prepared,
    samples: Samples,
    folder: Path,
    *,
    batch_size: int,
    memory_limit: int,
    keep: bool,
    progress: Progress | None,
) -> Iterator[TwoPasses]:
    """The first pass, for every network; what is in ``folder`` of it already is used.

    Args:
        measure: With ``form="primal"``, or ``"auto"`` that came to it.
        task: What is scored.
        prepared: What ``measure.prepared`` returned.
        samples: The data set.
        folder: Of the features, one folder a network.
        batch_size: Samples of one forward pass.
        memory_limit: Bytes for captured pairs.
        keep: Whether the features stay where the block ends well; after an error they always do.
        progress: Called with stage, steps done, steps in all.
    """
    with contextlib.ExitStack() as opened:
        networks = []
        part_size = part_size_of([measure.sketching(task) for task in prepared.tasks], prepared.num_outputs, batch_size)
        for place, network in enumerate(prepared.tasks):
            stream = measure.stream(network, prepared.who, memory_limit)
            key = features_key(stream.sketching, samples, batch_size)
            store = opened.enter_context(
                feature_store(folder / f"network-{place}", key=key, num_rows=len(samples), part_size=part_size)
            )
            _write_missing(store, stream, samples, batch_size, progress)
            tests = None
            if prepared.x_test is not None:
                tests = stream.tests(prepared.x_test, batch_size, None)
            moments = moments_on_disk(store, stream, samples, prepared.who.kept, progress)
            networks.append(Network(stream=stream, store=store, moments=moments, tests=tests))
        yield TwoPasses(
            measure=measure,
            task=task,
            prepared=prepared,
            samples=samples,
            networks=networks,
            memory_limit=memory_limit,
            progress=progress,
        )
    if not keep:
        for place in range(len(networks)):
            shutil.rmtree(folder / f"network-{place}")
        with contextlib.suppress(OSError):  # another measure's are beside them
            folder.rmdir()


def part_size_of(sketchings: Sequence[Sketching], num_outputs: int, batch_size: int) -> int:
    """Samples of a part, the same for all networks: whole batches, of about ``PART_BYTES`` for the widest features."""
    row = max(8 * each.width * (1 if each.shared else num_outputs) for each in sketchings)
    return max(1, PART_BYTES // (row * batch_size)) * batch_size


def features_key(sketching: Sketching, samples: Samples, batch_size: int) -> dict[str, Any]:
    """What the features of a network follow from beside the samples."""
    network = sketching.task
    return {
        "task": task_facts(network),
        "parameters": digest_of_model(network.model),
        "first outputs": outputs_digest(network, samples),
        **{name: environment(network)[name] for name in ("devices", "flags")},
        **sketching.key(),
        "batch_size": batch_size,
        "dtype": dtype_of(network),
    }


def dtype_of(task: Task) -> Dtype:
    """In which features are kept: as exactly as the network computes them."""
    wide = any(p.dtype == torch.float64 for p in task.parameters().values())
    return "float64" if wide else "float32"


def _write_missing(
    store: FeatureStore, stream: Stream, samples: Samples, batch_size: int, progress: Progress | None
) -> None:
    for part in store.parts():
        x = samples.x[part.start : part.stop]
        inputs = digest([x])
        if part.has(inputs):
            part.check()
            if progress:
                progress("features", part.stop, len(samples))
        else:

            def batches(part: Part = part, x: torch.Tensor = x) -> Iterator[tuple[np.ndarray, np.ndarray]]:
                for start in range(0, len(x), batch_size):
                    with of_batch(part.start + start):
                        found = stream.features(x[start : start + batch_size])
                    yield found.rows.numpy(force=True), found.outputs.numpy(force=True)
                    if progress:
                        progress("features", part.start + min(start + batch_size, len(x)), len(samples))

            part.write(batches(), inputs, dtype_of(stream.sketching.task))
            give_back_memory()


def moments_on_disk(
    store: FeatureStore, stream: Stream, samples: Samples, kept: torch.Tensor, progress: Progress | None
) -> Moments:
    """Of all parts in order: the same bits whether or not the run was stopped in between."""
    total: Moments | None = None
    for part in store.parts():
        rows = slice(part.start, part.stop)
        with of_batch(part.start):
            some = stream.moments(_features(part, part.start, part.stop, samples.y), samples.y[rows], kept[rows])
        total = some if total is None else total + some
        give_back_memory()
        if progress:
            progress("moments", part.stop, len(samples))
    assert total is not None
    return total


def give_back_memory() -> None:
    """Hand freed memory back to the system.

    For aligned tensors of some MiB glibc does not find it again (its bug 14581), so that a run would grow with N.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _features(part: Part, first: int, last: int, y: torch.Tensor) -> Features:
    """Features of rows [first, last), where the labels are."""
    rows, outputs = (torch.from_numpy(values).to(y.device) for values in part.read(first, last))
    return Features(rows=rows, outputs=outputs)
