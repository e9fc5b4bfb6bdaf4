"""How informative the samples of each class, source or other group are."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infotorch.curation.grouping import grouped
from infotorch.curation.scored import Source, scored
from infotorch.store.tables import write_table

__all__ = ["Informativeness", "informativeness"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Informativeness:
    """A score in each of G groups of samples, the group with the largest mean first; parts of a range in its order."""

    per: str
    """What the groups are by: "label", or a metadata column."""
    by: str
    """The score."""
    unit: str
    """Of mean, stderr and median: ``nats``, ``nats^2`` or ``1``."""
    names: tuple[str, ...]
    """[G]"""
    counts: np.ndarray
    """int64 [G], samples."""
    means: np.ndarray
    """float64 [G]"""
    stderrs: np.ndarray
    """float64 [G], of the mean: the standard deviation, with n - 1, over sqrt(n); NaN for a single sample."""
    medians: np.ndarray
    """float64 [G]"""
    shares: np.ndarray | None
    """float64 [G], of the sum of all samples' scores; ``None`` where scores are negative or all 0."""
    contradicted: np.ndarray | None
    """float64 [G], share of the group's labels that the suggested ones differ from; ``None`` without suggestions."""
    binned: bool
    """Whether the groups are fifths of the range of a number."""

    def __len__(self) -> int:
        """G, the number of groups."""
        return len(self.names)

    def table(self) -> pa.Table:
        """A row a group: ``per`` under its own name, count, mean, stderr, median, share, contradicted."""
        columns = {"count": self.counts, "mean": self.means, "stderr": pa.array(self.stderrs, from_pandas=True),
                   "median": self.medians}  # fmt: skip
        columns |= {} if self.shares is None else {"share": self.shares}
        columns |= {} if self.contradicted is None else {"contradicted": self.contradicted}
        return pa.table([pa.array(self.names, pa.string()), *columns.values()], names=[self.per, *columns])

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes ``table()`` as .csv, .parquet, .jsonl (one object a line) or .json (a list of them).

        Raises:
            ConfigError: The path ends otherwise.
            StoreError: The system refuses.
        """
        return write_table("informativeness", self.table(), path)


def informativeness(run: Source, samples: Any = None, *, per: str = "label", by: str | None = None) -> Informativeness:
    """A score by class, source or any other column of the samples (arXiv 2101.06640, section 6).

    The means compare samples of one group with those of another: which source teaches the network more a sample. They
    are no group's own information, which isn't the sum of its members': a hundred copies of one picture have next to
    none each, and together what one of them has. For that, score with ``UniqueInformation(groups=...)``.

    Args:
        run: The folder of a run, an open run, or scores.
        samples: With scores, the samples that they are of, as ``infotorch.score`` took them.
        per: "label", or a metadata column. More than 12 different numbers are cut into fifths of equally many samples.
        by: The score; default the one that was asked for. Of several times the last, if the name says none.

    Raises:
        ConfigError: No such score or column; the text names the nearest.
        DataError: Labels that are no single values, or samples that are not those of the scores.
        StoreError: The run is not finished or damaged.

    Example:
        >>> print(infotorch.informativeness("runs/mixed", per="source").table().to_pandas())
    """
    known = scored("informativeness", run, samples, extra=None if per == "label" else per)
    by = known.column(known.scores.main if by is None else by)
    column = known.scores[by]
    values = column.values.astype(np.float64)
    groups, binned = grouped(known.named_labels() if known.extra is None else known.extra)
    if not binned:
        groups = sorted(groups, key=lambda group: -float(values[group[1]].mean()))
    suggested = known.suggested(by)
    wrong = None if suggested is None else suggested != known.classes()
    parts = [values[rows] for _, rows in groups]
    counts, sums = np.array([len(part) for part in parts]), np.array([part.sum() for part in parts])
    stderrs = [part.std(ddof=1) / len(part) ** 0.5 if len(part) > 1 else np.nan for part in parts]
    summable = values.min() >= 0 and 0 < sums.sum() < np.inf
    return Informativeness(
        per=per,
        by=by,
        unit=column.unit,
        names=tuple(name for name, _ in groups),
        counts=counts,
        means=sums / counts,
        stderrs=np.array(stderrs),
        medians=np.array([np.median(part) for part in parts]),
        shares=sums / sums.sum() if summable else None,
        contradicted=None if wrong is None else np.array([wrong[rows].mean() for _, rows in groups]),
        binned=binned,
    )
