"""Two passes over a data set of any size: features to disk, then scores from them, a part of the samples at a time."""

import contextlib
import functools
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from infotorch.blocks.features import Features
from infotorch.data import Samples, StreamedInputs, batches_of, hashes_of
from infotorch.errors import ConfigError
from infotorch.measures import UniqueInformation
from infotorch.measures.digest import digest_of_model
from infotorch.measures.information import Members
from infotorch.measures.measure import Progress
from infotorch.measures.primal.moments import Moments
from infotorch.measures.primal.sketched import Sketching
from infotorch.measures.primal.stream import Stream, Tests
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import Fidelity, fidelity
from infotorch.pipeline.held import HeldMemory
from infotorch.pipeline.provenance import environment, outputs_digest, task_facts
from infotorch.pipeline.ranks import MomentsTree, Ranks
from infotorch.pipeline.tables import of_batch, stacked
from infotorch.store.features import FeatureStore, Part, feature_store
from infotorch.store.manifest import holds_run
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["TwoPasses", "two_passes"]

FeatureDtype = Literal["float32", "float64", "bfloat16"]
PART_BYTES = 1 << 27
"""Of the features of one part in float64, which are in memory at once."""


MOST_ROWS = 1 << 14
"""Of a part: work is shared between processes by parts, however narrow features are."""


@dataclass(frozen=True, kw_only=True)
class TwoPasses:
    """Features of all samples on disk, under every network, and their moments."""

    measure: UniqueInformation
    task: Task
    prepared: Prepared
    samples: Samples
    networks: Sequence["Network"]
    memory_limit: int
    ranks: Ranks
    held: HeldMemory
    progress: Progress | None = None

    @property
    def warnings(self) -> list[str]:
        """In plain words, what a reader must know of the scores, whatever they are compared with."""
        first = self.networks[0]
        return first.stream.warnings(first.moments)

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
        shares = zip(*(network.store.between(start, stop) for network in self.networks), strict=True)
        return stacked(self.ranks.each(lambda own: [self._scores(share) for share in own], list(shares)))

    def _scores(self, share: Sequence[tuple[Part, int, int]]) -> Scores:
        """Of rows [first, last) of a part, in the store of every network."""
        _, first, last = share[0]
        rows, y = slice(first, last), self.samples.y
        who = Members(kept=self.prepared.who.kept[rows], groups=None)
        members = [
            network.stream.result(_features(part, first, last, y), y[rows], who, network.moments, network.tests)
            for network, (part, first, last) in zip(self.networks, share, strict=True)
        ]
        scores = self.measure.table(members, self.prepared.tasks[0], y[rows], np.arange(first, last))
        self.held.part_done()
        if self.progress:
            self.progress("scores", last, len(y))
        return scores


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
    feature_dtype: FeatureDtype | None,
    memory_limit: int,
    ranks: Ranks,
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
        feature_dtype: In which features are kept; by default as exactly as the network computes them.
        memory_limit: Bytes for captured pairs.
        ranks: The processes that share the work; each writes parts of its own.
        progress: Called with stage, steps done, steps in all.
    """
    with contextlib.ExitStack() as opened:
        networks, held = [], HeldMemory()
        part_size = part_size_of([measure.sketching(task) for task in prepared.tasks], prepared.num_outputs, batch_size)
        for place, network in enumerate(prepared.tasks):
            stream = measure.stream(network, prepared.who, memory_limit)
            dtype = feature_dtype or dtype_of(network)
            key = features_key(stream.sketching, samples, batch_size, dtype)
            made = feature_store(folder / f"network-{place}", key=key, num_rows=len(samples), part_size=part_size)
            store = ranks.first(functools.partial(opened.enter_context, made))  # which holds the lock for all
            _write_missing(store, stream, samples, dtype, batch_size, ranks, held, progress)
            tests = None
            if prepared.x_test is not None:
                tests = stream.tests(prepared.x_test, batch_size, None)
            moments = moments_on_disk(store, stream, samples, prepared.who.kept, ranks, held, progress)
            networks.append(Network(stream=stream, store=store, moments=moments, tests=tests))
        yield TwoPasses(
            measure=measure,
            task=task,
            prepared=prepared,
            samples=samples,
            networks=networks,
            memory_limit=memory_limit,
            ranks=ranks,
            held=held,
            progress=progress,
        )
        ranks.wait()  # others may still read


def features_folder(out: str | Path, features: str | Path | None = None) -> Path:
    """Where the features of the run ``out`` are: ``<out>.features.tmp``, gone when it is whole, or a user's own folder.

    Raises:
        ConfigError: That is or lies in the folder of a run.
    """
    if features is None:
        return Path(f"{Path(out)}.features.tmp")
    folder = Path(features).resolve()
    for place in (folder, *folder.parents):
        if place == Path(out).resolve() or holds_run(place):
            raise ConfigError(
                f"score: features must lie outside of runs, which hold what they list and nothing else; got {features}"
                f", in the run {place}. Choose another folder."
            )
    return Path(features)


def remove_features(folder: Path) -> None:
    """The stores of all networks, and the folder where nothing else is in it."""
    for store in folder.glob("network-*"):
        shutil.rmtree(store)
    with contextlib.suppress(OSError):
        folder.rmdir()


def part_size_of(sketchings: Sequence[Sketching], num_outputs: int, batch_size: int) -> int:
    """Samples of a part, the same for all networks: whole batches, of about ``PART_BYTES`` for the widest features."""
    row = max(8 * each.width * (1 if each.shared else num_outputs) for each in sketchings)
    return max(1, min(PART_BYTES // row, MOST_ROWS) // batch_size) * batch_size


def features_key(sketching: Sketching, samples: Samples, batch_size: int, dtype: FeatureDtype) -> dict[str, Any]:
    """What the features of a network follow from beside the samples."""
    network = sketching.task
    return {
        "task": task_facts(network),
        "parameters": digest_of_model(network.model),
        "outputs": outputs_digest(network, samples),
        **{name: environment(network)[name] for name in ("devices", "flags")},
        **sketching.key(),
        "batch_size": batch_size,
        "dtype": dtype,
    }


def dtype_of(task: Task) -> FeatureDtype:
    """In which features are kept by default: as exactly as the network computes them."""
    wide = any(p.dtype == torch.float64 for p in task.parameters().values())
    return "float64" if wide else "float32"


def _write_missing(
    store: FeatureStore,
    stream: Stream,
    samples: Samples,
    dtype: FeatureDtype,
    batch_size: int,
    ranks: Ranks,
    held: HeldMemory,
    progress: Progress | None,
) -> None:
    def batches(part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        done = part.start
        for x in batches_of(samples.x, part.start, part.stop, batch_size):
            with of_batch(done):
                found = stream.features(x)
            yield stored(found.rows, dtype), found.outputs.numpy(force=True)
            done += len(x)
            if progress:
                progress("features", done, len(samples))

    with ThreadPoolExecutor(1) as writer:  # a part is hashed and written while the next is computed
        writing: Future[None] | None = None
        for part in ranks.share(list(store.parts())):
            inputs = hashes_of_inputs(samples.x, part)
            if part.has(inputs):
                part.check()
                if progress:
                    progress("features", part.stop, len(samples))
                continue
            found = list(batches(part))
            if writing is not None:
                writing.result()
            writing = writer.submit(part.write, found, inputs)
            del found
            held.part_done()
        if writing is not None:
            writing.result()


def stored(features: torch.Tensor, dtype: FeatureDtype) -> np.ndarray:
    """As they are on disk: NumPy has no bfloat16, so that its bits stand there as uint16."""
    values = features.to(getattr(torch, dtype))
    return (values.view(torch.uint16) if dtype == "bfloat16" else values).numpy(force=True)


def hashes_of_inputs(x: torch.Tensor | StreamedInputs, part: Part) -> str:
    """Of every row, in hexadecimal: the same for streamed inputs as for those in memory."""
    return hashes_of(x, part.start, part.stop).tobytes().hex()


def moments_on_disk(
    store: FeatureStore,
    stream: Stream,
    samples: Samples,
    kept: torch.Tensor,
    ranks: Ranks,
    held: HeldMemory,
    progress: Progress | None,
) -> Moments:
    """Of all parts: the same bits however the run was stopped in between, and for any number of processes."""
    tree = MomentsTree()
    for part in ranks.share(list(store.parts())):
        rows = slice(part.start, part.stop)
        with of_batch(part.start):
            some = stream.moments(_features(part, part.start, part.stop, samples.y), samples.y[rows], kept[rows])
        tree.add(0, part.number, some)
        held.part_done()
        if progress:
            progress("moments", part.stop, len(samples))
    return ranks.total(tree, samples.y.device)


def _features(part: Part, first: int, last: int, y: torch.Tensor) -> Features:
    """Features of rows [first, last), where the labels are."""
    rows, outputs = (torch.from_numpy(values).to(y.device) for values in part.read(first, last))
    return Features(rows=rows, outputs=outputs)
