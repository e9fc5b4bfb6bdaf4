"""Two passes over a data set of any size: features to disk, then scores from them, a part of the samples at a time."""

import contextlib
import ctypes
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infotorch.blocks.features import Features
from infotorch.data import Samples
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest, digest_of_model
from infotorch.measures.information import Members
from infotorch.measures.measure import Progress
from infotorch.measures.primal.moments import Moments
from infotorch.measures.primal.stream import Stream, Tests
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import Fidelity, fidelity
from infotorch.pipeline.provenance import task_facts
from infotorch.pipeline.tables import stacked
from infotorch.store.features import FeatureStore, Part, feature_store
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["TwoPasses", "two_passes"]

PART_BYTES = 1 << 26
"""Of the features of one part, which are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class TwoPasses:
    """Features of all samples on disk, under every network, and their moments."""

    measure: UniqueInformation
    task: Task
    prepared: Prepared
    samples: Samples
    networks: Sequence["Network"]
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
                network.stream.result(_features(*share), y[rows], who, network.moments, network.tests)
                for network, share in zip(self.networks, shares, strict=True)
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
        for place, network in enumerate(prepared.tasks):
            stream = measure.stream(network, prepared.who, memory_limit)
            width, C = stream.sketching.width, 1 if stream.sketching.shared else prepared.num_outputs
            key = {"task": task_facts(network), "parameters": digest_of_model(network.model), **stream.sketching.key()}
            store = opened.enter_context(
                feature_store(
                    folder / f"network-{place}",
                    key=key | {"batch_size": batch_size},
                    num_rows=len(samples),
                    part_size=max(1, PART_BYTES // (4 * width * C * batch_size)) * batch_size,
                )
            )
            _write_missing(store, stream, samples, batch_size, progress)
            tests = None
            if prepared.x_test is not None:
                tests = stream.tests(prepared.x_test, batch_size, None)
            moments = _moments(store, stream, samples, prepared.who.kept, progress)
            networks.append(Network(stream=stream, store=store, moments=moments, tests=tests))
        yield TwoPasses(
            measure=measure, task=task, prepared=prepared, samples=samples, networks=networks, progress=progress
        )
    if not keep:
        shutil.rmtree(folder)


def _write_missing(
    store: FeatureStore, stream: Stream, samples: Samples, batch_size: int, progress: Progress | None
) -> None:
    for part in store.parts():
        x = samples.x[part.start : part.stop]
        inputs = digest([x])
        if not part.has(inputs):

            def batches(part: Part = part, x: torch.Tensor = x) -> Iterator[tuple[np.ndarray, np.ndarray]]:
                for start in range(0, len(x), batch_size):
                    found = stream.features(x[start : start + batch_size])
                    yield found.rows.numpy(force=True), found.outputs.numpy(force=True)
                    if progress:
                        progress("features", part.start + min(start + batch_size, len(x)), len(samples))

            part.write(batches(), inputs, "float32")
            give_back_memory()
        elif progress:
            progress("features", part.stop, len(samples))


def _moments(
    store: FeatureStore, stream: Stream, samples: Samples, kept: torch.Tensor, progress: Progress | None
) -> Moments:
    """Of all parts in order: the same bits whether or not the run was stopped in between."""
    total: Moments | None = None
    for part in store.parts():
        rows = slice(part.start, part.stop)
        some = stream.moments(_features(part, part.start, part.stop), samples.y[rows], kept[rows])
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


def _features(part: Part, first: int, last: int) -> Features:
    rows, outputs = part.read(first, last)
    return Features(rows=torch.from_numpy(rows), outputs=torch.from_numpy(outputs))
