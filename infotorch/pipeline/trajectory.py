"""Scores of the same samples at several checkpoints: how they move, and their means."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infotorch.errors import ConfigError, ShapeError, check_choice
from infotorch.measures.agreement import spearman
from infotorch.table import Column, Scores

__all__ = ["Trajectory"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The scores of a data set at T >= 2 checkpoints, in order.

    Example:
        >>> early, late = (Scores(index=np.arange(2), columns={"loss": Column(values=v, unit="nats", source="")})
        ...                for v in (np.array([3.0, 1.0]), np.array([1.0, 0.5])))
        >>> Trajectory(names=("early", "late"), tables=(early, late)).change("loss")
        array([-2. , -0.5])
    """

    names: tuple[str, ...]
    """Of the checkpoints, [T]."""
    tables: tuple[Scores, ...]
    """Their scores, [T], of the same samples in the same columns."""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.tables) or len(self.tables) < 2:
            raise ConfigError(
                f"Trajectory: there must be at least two checkpoints, one table each; got {len(self.names)} names and "
                f"{len(self.tables)} tables. Score more checkpoints, or use the one table."
            )
        for name, table in zip(self.names, self.tables, strict=True):
            same = np.array_equal(table.index, self.index) and list(table.columns) == list(self.tables[0].columns)
            if not same:
                raise ShapeError(
                    f"Trajectory: all checkpoints must have the same samples and columns; got others at {name!r}. "
                    "Score the same samples with the same measures."
                )

    @property
    def index(self) -> np.ndarray:
        """The samples' places in the data set, int64 [N]."""
        return self.tables[0].index

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores that are one number a sample: floating point, standard errors left out."""
        found = self.tables[0].columns.items()
        return tuple(
            name
            for name, column in found
            if column.values.dtype.kind == "f" and column.values.ndim == 1 and not name.endswith("_stderr")
        )

    @property
    def main(self) -> str:
        """The column that was asked for; the first with one number a sample where that has several."""
        asked = self.tables[0].main
        return asked if asked in self.columns else self.columns[0]

    def __len__(self) -> int:
        """T."""
        return len(self.tables)

    def __getitem__(self, name: str) -> np.ndarray:
        """The scores called ``name`` at every checkpoint, [T, N].

        Raises:
            ConfigError: There are none; the text names the nearest.
        """
        return np.stack([table[name].values for table in self.tables])

    def change(self, name: str | None = None) -> np.ndarray:
        """The score at the last checkpoint minus that at the first, [N]; default the main one."""
        values = self[self._numbers(name)]
        return values[-1] - values[0]

    def rising(self, k: int, name: str | None = None) -> np.ndarray:
        """Rows of the at most ``k`` samples whose score rose most from the first to the last checkpoint, int64."""
        return self._first(-self.change(name), k)

    def falling(self, k: int, name: str | None = None) -> np.ndarray:
        """Rows of the at most ``k`` samples whose score fell most, int64."""
        return self._first(self.change(name), k)

    def rank_correlation(self, name: str | None = None) -> list[float | None]:
        """Spearman's correlation of each checkpoint's scores with the next one's, [T - 1].

        None where the scores of one of them are equal.
        """
        values = self[self._numbers(name)]
        return [spearman(a, b) for a, b in itertools.pairwise(values)]

    def to_scores(self) -> Scores:
        """Means over checkpoints under the scores' own names, with columns ``_stderr`` and ``_change`` beside each.

        ``_stderr`` is the standard deviation over sqrt(T). It is the mean's standard error where checkpoints are
        independent, as those of several seeds; along one training they are not, and it tells how far scores move. A
        bool is true where it is at every checkpoint, as in ``reliable``; whole numbers, such as labels, are left out.
        """
        found: dict[str, Column] = {}
        T = len(self)
        for name in self.tables[0].columns:
            column, values = self.tables[0][name], self[name]
            about: dict[str, Any] = {"unit": column.unit, "kind": column.kind}
            if values.dtype.kind == "b":
                found[name] = Column(
                    values=np.asarray(values.all(0)), source=f"{column.source}, at all {T} checkpoints", **about
                )
            elif name in self.columns:
                mean, spread = values.mean(0), values.std(0, ddof=1) / math.sqrt(T)
                found[name] = Column(values=mean, source=f"{column.source}; mean of {T} checkpoints", **about)
                found[f"{name}_stderr"] = Column(values=spread, source="standard deviation over sqrt(T)", **about)
                found[f"{name}_change"] = Column(values=self.change(name), source="last minus first", **about)
        return Scores(index=self.index, columns=found, main=self.main)

    def summary(self) -> dict[str, Any]:
        """Names and, by column, means over samples and rank correlations, as JSON."""
        by_column: Mapping[str, Any] = {
            name: {"mean": self[name].mean(1).tolist(), "rank_correlation": self.rank_correlation(name)}
            for name in self.columns
        }
        return {"checkpoints": list(self.names), "columns": by_column}

    def _numbers(self, name: str | None) -> str:
        if name is None:
            return self.main
        check_choice("Trajectory", "column", name, self.columns)
        return name

    def _first(self, values: np.ndarray, k: int) -> np.ndarray:
        """Places of the ``k`` smallest of ``values`` below 0, smallest first; equal ones in the data's order."""
        if k < 0:
            raise ConfigError(f"Trajectory: k must be at least 0; got {k}. Say how many samples to return.")
        order = np.argsort(values, kind="stable")[:k]
        return order[values[order] < 0]
