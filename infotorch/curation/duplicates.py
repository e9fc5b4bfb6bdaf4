"""Samples that are there twice, or nearly: to the network, or as they are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from infotorch.curation.scored import scored
from infotorch.curation.similar import InMemory, OnDisk, Progress, similar_pairs
from infotorch.data import Samples, inputs_digest, samples_of
from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.store import open as open_run
from infotorch.store.features import FeatureStore, open_features
from infotorch.store.run import Run
from infotorch.store.tables import write_table

__all__ = ["Duplicates", "duplicates"]

MAX_SAMPLES = 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class Duplicates:
    """Pairs of samples that are alike, and the groups that they form."""

    num_samples: int
    """N, of how many samples."""
    threshold: float
    """The least cosine of a pair."""
    pairs: np.ndarray
    """int64 [P, 2], positions of the two samples, the smaller first; the most similar pair first."""
    similarity: np.ndarray
    """float64 [P], cosines."""
    exact: np.ndarray
    """bool [P]: the two rows are equal to the bit."""
    labels_differ: np.ndarray | None
    """bool [P]; ``None`` where no labels are known."""
    groups: tuple[np.ndarray, ...]
    """Positions, ascending: samples that a chain of pairs connects, the largest group first. Two samples of one group
    may be less similar than the threshold."""
    ids: tuple[str, ...]
    """[N]"""
    labels: Sequence[Any] | None
    """[N], by name where the classes have names."""

    def __len__(self) -> int:
        """P, the number of pairs."""
        return len(self.pairs)

    @property
    def redundant(self) -> np.ndarray:
        """int64, ascending: all samples of every group but its first, which may be left out."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *(group[1:] for group in self.groups)]))

    def table(self) -> pa.Table:
        """A row a pair: group (0 is the largest), similarity, exact, index_a, id_a, label_a, index_b, id_b, ...

        Labels, and labels_differ, are left out where none are known.
        """
        of = np.full(self.num_samples, -1)
        for number, group in enumerate(self.groups):
            of[group] = number
        columns: dict[str, Any] = {
            "group": of[self.pairs[:, 0]], "similarity": self.similarity, "exact": self.exact
        }  # fmt: skip
        for side, places in zip("ab", self.pairs.T.tolist(), strict=True):
            columns[f"index_{side}"] = pa.array(places, pa.int64())
            columns[f"id_{side}"] = pa.array([self.ids[i] for i in places], pa.string())
            if self.labels is not None:
                columns[f"label_{side}"] = pa.array([str(self.labels[i]) for i in places], pa.string())
        if self.labels_differ is not None:
            columns["labels_differ"] = self.labels_differ
        return pa.table(columns)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes ``table()`` as .csv, .parquet, .jsonl (one object a line) or .json (a list of them).

        Raises:
            ConfigError: The path ends otherwise.
            StoreError: The system refuses.
        """
        return write_table("duplicates", self.table(), path)


def duplicates(
    rows: Tensor | np.ndarray | str | Path,
    samples: Any = None,
    *,
    threshold: float = 0.99,
    max_samples: int = MAX_SAMPLES,
    progress: Progress | None = None,
) -> Duplicates:
    """Pairs of samples whose rows point the same way, found by comparing all pairs.

    Rows of features are gradients of the outputs: their inner product is the trace of two samples' block of the tangent
    kernel, so that a cosine near 1 says that training can hardly tell one from the other. Sketched to ``dim`` numbers
    an output, a cosine c is off by about (1 - c²) / sqrt(dim): little where samples are alike. Unique
    information says how *much* of a sample others have; this says which others.

    Args:
        rows: The folder in which ``score(features=...)`` left features; or any array [N, ...], inputs for instance.
        samples: Whose ids and labels are shown: a run, its folder, or what ``infotorch.score`` took. Features on disk
            must be of their inputs, and of the run's network, or one of its networks where it was scored with
            ``models``: of the first one where ``rows`` is the folder of them all.
        threshold: Least cosine of a pair, above 0. At 1 only rows that are equal to the bit are paired, by their hash:
            in time linear in N, for any N.
        max_samples: The most samples that are compared pair by pair: N² K flops for K numbers a row, 43 Tflop at
            N = 65,536 and K = 10,000, and memory of a few 64 MiB.
        progress: Called with stage, blocks done, blocks in all.

    Raises:
        ConfigError: A threshold out of range, more samples than ``max_samples``, or over 10 million pairs.
        ShapeError: ``rows`` is no array [N, ...] with numbers in it.
        DataError: A row is not finite, or there are other samples than rows.
        StoreError: No features, broken ones, or those of another network or of other samples.

    Example:
        >>> infotorch.score(task, data, measure, out="runs/a", features="runs/a-features")  # form="primal"
        >>> infotorch.duplicates("runs/a-features", "runs/a").write("pairs.csv")
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"duplicates: threshold must be in (0, 1]; got {threshold!r}. Give a cosine, 0.99 say.")
    run = open_run(samples) if isinstance(samples, str | Path) else samples
    known = run if run is None or isinstance(run, Run) else samples_of(run)
    held = OnDisk(_features(rows, known)) if isinstance(rows, str | Path) else _in_memory(rows)
    N = len(held)
    if N > max_samples and threshold < 1:
        flops = N * N * held.read(0, 1).shape[1]
        raise ConfigError(
            f"duplicates: samples must be at most {max_samples:,}, since all pairs are compared; got {N:,}, for "
            f"{flops:.2g} flops. Raise max_samples, pass rows of some samples, or threshold=1 for equal rows alone."
        )
    ids, labels = _named(known, N)
    pairs, similarity, exact = similar_pairs(held, threshold, progress)
    differ = None if labels is None else np.array([labels[a] != labels[b] for a, b in pairs.tolist()], bool)
    return Duplicates(
        num_samples=N,
        threshold=threshold,
        pairs=pairs,
        similarity=similarity,
        exact=exact,
        labels_differ=differ,
        groups=components(pairs),
        ids=ids,
        labels=labels,
    )


def _features(folder: str | Path, known: Run | Samples | None) -> FeatureStore:
    """Those on disk, held to what is known of their samples and network."""
    if known is None:
        return open_features(folder)
    if isinstance(known, Samples):
        return open_features(folder, num_rows=len(known), inputs=inputs_digest(known.x))
    manifest = known.manifest
    made = manifest["provenance"]
    key = {name: [made[name]] for name in ("parameters", "outputs") if name in made}
    configs = manifest["command"].get("score", {}).get("measures", [])
    ensembles = [config["models"] for config in configs if config.get("models")]
    if ensembles:  # the run tells the outputs of the task's own network alone
        own = key["parameters"] if len(ensembles) < len(configs) else []
        key = {"parameters": own + [network for ensemble in ensembles for network in ensemble]}
    return open_features(folder, num_rows=manifest["rows"], key=key, inputs=manifest["data"].get("inputs"))


def _in_memory(rows: Tensor | np.ndarray) -> InMemory:
    values = rows if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows))
    if values.ndim == 0 or not values.numel() or values.is_complex():
        raise ShapeError(
            f"duplicates: rows must be real numbers [N, ...], at least one; got {values.dtype} {list(values.shape)}. "
            "Pass inputs or features, a row a sample."
        )
    return InMemory(values)


def _named(samples: Run | Samples | None, N: int) -> tuple[tuple[str, ...], Sequence[Any] | None]:
    """Ids, and labels by name."""
    if samples is None:
        return tuple(map(str, range(N))), None
    if isinstance(samples, Run):
        found = scored("duplicates", samples)
        ids, labels, names = found.ids, found.labels, found.label_names
    else:
        ids, labels, names = samples.ids, samples.y.tolist(), samples.label_names
    if len(ids) != N:
        raise DataError(
            f"duplicates: samples must be those of the rows, {N:,}; got {len(ids):,}. Pass both of the same data set."
        )
    if labels is None or isinstance(labels[0], list):
        return ids, labels
    by_number = dict(enumerate(names or ()))
    return ids, [by_number.get(label, label) for label in labels]


def components(pairs: np.ndarray) -> tuple[np.ndarray, ...]:
    """The connected components of at least two nodes, each ascending; the largest first, then by the first node."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]  # halves the way for whoever comes next
            node = parent[node]
        return node

    for a, b in pairs.tolist():
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    members: dict[int, list[int]] = {}
    for node in sorted(parent):
        members.setdefault(root(node), []).append(node)
    return tuple(np.array(group) for group in sorted(members.values(), key=lambda group: (-len(group), group[0])))
