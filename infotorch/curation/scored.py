"""Scores with what is known of their samples, from a run on disk or from memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infotorch import store
from infotorch.data import Samples, samples_of
from infotorch.data.samples import RESERVED
from infotorch.errors import ConfigError, DataError, unknown
from infotorch.store.run import Run
from infotorch.table import Scores, last_times, stem_of, time_of

Source = str | Path | Run | Scores
"""The folder of a run, an open run, or scores in memory."""
OWN = "own_residual"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores, and their samples row by row."""

    where: str
    """The function that errors speak of."""
    scores: Scores
    ids: tuple[str, ...]
    """[N]"""
    labels: Sequence[Any] | None
    """[N]: a class, a number, or a list of numbers; ``None`` where none are known."""
    label_names: tuple[str, ...] | None
    """Names of the classes 0, 1, ..."""
    extra: Sequence[Any] | None = None
    """[N], the metadata column that was asked for."""

    def column(self, by: str | None) -> str:
        """The column of one number a sample that ``by`` names.

        A name without a time stands for the last of several times. ``None`` is the own residual where there is one, and
        the score that was asked for where not.

        Raises:
            ConfigError: There is none; the text names the nearest.
        """
        found = [
            name
            for name, column in self.scores.columns.items()
            if column.values.ndim == 1 and column.values.dtype.kind == "f" and not name.endswith("_stderr")
        ]
        if by is None:
            by = OWN if any(stem_of(name) == OWN for name in found) else self.scores.main or ""
        if by not in found:
            last = last_times(found)
            if by not in last:
                raise unknown(self.where, "by", by, found)
            by = last[by]
        return by

    def suggested(self, by: str) -> np.ndarray | None:
        """The labels that the scores suggest, int64 [N]: those of ``by``'s time, else of the last, or cleanlab's."""
        columns = list(self.scores.columns)
        same = f"suggested_label{time_of(by)}"
        found = [same] if same in columns else [name for name in columns if stem_of(name) == "suggested_label"]
        found = found or [name for name in columns if name == "predicted_label"]
        return self.scores[found[-1]].values.astype(np.int64) if found else None

    def named_labels(self) -> list[Any]:
        """The labels by their names, else as they are, [N].

        Raises:
            DataError: There are none, or a label is more than one number.
        """
        labels = self._labels()
        if any(isinstance(label, list) for label in labels):
            raise DataError(
                f"{self.where}: labels must be one number a sample; got {len(labels[0])} for sample "
                f"{self.scores.index[0]}. Group by a metadata column."
            )
        names = dict(enumerate(self.label_names or ()))
        return [names.get(label, label) for label in labels]

    def classes(self) -> np.ndarray:
        """The labels as classes, int64 [N]; zeros and ones may be [N, 1], as a binary loss takes them.

        Raises:
            DataError: There are none, or one is no whole number; the text names the first.
        """
        labels = self._labels()
        for row, label in enumerate(labels):
            if not isinstance(label, int) and not (isinstance(label, float) and label.is_integer()):
                raise DataError(
                    f"{self.where}: labels must be one class a sample; got {str(label)[:40]} for sample "
                    f"{self.scores.index[row]}. Targets of a regression have no label errors: rank them with largest()."
                )
        return np.array(labels, dtype=np.int64)

    def _labels(self) -> Sequence[Any]:
        if self.labels is None:
            raise DataError(
                f"{self.where}: samples must have labels; got none in this run. Score data with labels, or pass "
                "scores and samples."
            )
        alone = [label[0] if isinstance(label, list) and len(label) == 1 else label for label in self.labels]
        return [int(label) for label in alone] if all(label in (0, 1) for label in alone) else self.labels


def scored(where: str, source: Source, samples: Any = None, *, extra: str | None = None) -> Scored:
    """Scores with their samples.

    Args:
        where: The function that asks.
        source: A run's folder, an open run, or scores.
        samples: For scores, what they are of, as ``infotorch.score`` took it; a run has its own.
        extra: A metadata column to read as well.

    Raises:
        StoreError: The run is not there, not finished or damaged.
        ConfigError: Samples beside a run, or a metadata column that isn't there; the text names the nearest.
        DataError: Scores without samples, or of other samples; or no scores at all.
    """
    if isinstance(source, Scores):
        found = _of_memory(where, source, samples, extra)
    elif samples is not None:
        raise ConfigError(f"{where}: a run has its own samples; got samples beside it. Leave them out.")
    elif isinstance(source, str | Path | Run):
        found = _of_run(where, store.open(source) if isinstance(source, str | Path) else source, extra)
    else:
        raise ConfigError(
            f"{where}: scores must be a run, its folder, or Scores; got {type(source).__name__}. "
            "Pass what infotorch.score returned, or the folder that out= named."
        )
    if not len(found.scores):
        raise DataError(f"{where}: there must be at least one sample; got none. Score some samples first.")
    return found


def _of_run(where: str, run: Run, extra: str | None) -> Scored:
    scores = run.scores()
    there = run.sample_columns()
    groupable = ["label", *(name for name in there if name not in RESERVED)]
    if extra and extra not in groupable:
        raise unknown(where, "per", extra, groupable)
    samples = run.samples([name for name in ("id", "label", extra) if name in there])
    names = run.manifest["data"].get("label_names")
    known = {name: samples[name].to_pylist() for name in samples.column_names}
    labels = known.get("label")
    return Scored(
        where=where,
        scores=scores,
        ids=tuple(known.get("id") or map(str, scores.index.tolist())),
        labels=None if labels is None or all(label is None for label in labels) else labels,
        label_names=None if names is None else tuple(names),
        extra=known[extra] if extra else None,
    )


def _of_memory(where: str, scores: Scores, samples: Any, extra: str | None) -> Scored:
    if samples is None:
        raise DataError(
            f"{where}: scores need the samples that they are of; got none. Pass what infotorch.score took as data, or "
            "a run, which has them."
        )
    known: Samples = samples_of(samples)
    index = scores.index
    if len(index) and index[-1] >= len(known):
        raise DataError(
            f"{where}: samples must be those that were scored; got {len(known)} for a score of sample {index[-1]}. "
            "Pass the whole data set, in the order in which it was scored."
        )
    if extra and extra not in known.metadata:
        raise unknown(where, "per", extra, ["label", *known.metadata])
    return Scored(
        where=where,
        scores=scores,
        ids=tuple(known.ids[i] for i in index),
        labels=known.y.detach().cpu()[index].tolist(),
        label_names=known.label_names,
        extra=known.metadata[extra][index].tolist() if extra else None,
    )
