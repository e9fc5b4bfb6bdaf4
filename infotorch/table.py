"""What a measure returns: a table of scores by sample, and single numbers about a data set.

NumPy alone, so that the store and the report read scores without torch.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from infotorch import errors

if TYPE_CHECKING:
    import pandas

Kind = Literal["bound", "estimate", "diagnostic", "heuristic"]
"""What a number may be taken for."""

KINDS: tuple[str, ...] = get_args(Kind)
UNITS = ("nats", "nats^2", "1")
DTYPES = ("float64", "float32", "int64", "bool")
LOW_FIRST = frozenset({"margin", "normalized_margin", "self_confidence"})
"""Columns whose low values are suspicious, as where they come from; of all others the high ones are."""
_TIME = re.compile(r"(_(?:steps|time)_[^_]+)?(_stderr)?$")


def stem_of(name: str) -> str:
    """A column's name without its time, and without the ending of a standard error."""
    return _TIME.sub("", name)


def low_first(name: str) -> bool:
    """Whether low values of a column are the suspicious ones; a high standard error is never one of them."""
    return stem_of(name) in LOW_FIRST and not name.endswith("_stderr")


def time_of(name: str) -> str:
    """The ending that says the time of a column, such as ``_steps_300``; empty where there is only one."""
    found = _TIME.search(name)
    return (found and found[1]) or ""


def last_times(names: Iterable[str]) -> dict[str, str]:
    """By stem, the column of that name, of several times the last; no standard errors, no changes along checkpoints."""
    return {stem_of(name): name for name in names if not name.endswith(("_stderr", "_change"))}


def _check_labels(where: str, unit: str, kind: str) -> None:
    errors.check_choice(where, "unit", unit, UNITS)
    errors.check_choice(where, "kind", kind, KINDS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """One score, for every sample.

    Raises:
        ShapeError: ``values`` has neither one axis nor two.
        ConfigError: The dtype, unit or kind is none of those allowed.
    """

    values: np.ndarray
    """[N], or [N, C] with one number an output; float64, float32, int64 or bool."""
    unit: str
    """``nats``, ``nats^2`` or ``1``."""
    source: str
    """Where the formula stands: "arXiv 2101.06640, eq. 5"."""
    kind: Kind = "estimate"
    """What the number may be taken for."""

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.dtype.name not in DTYPES:
            got = getattr(self.values, "dtype", type(self.values).__name__)
            raise errors.ConfigError(
                f"Column: values must be a NumPy array of {', '.join(DTYPES)}; got {got}. Convert it with np.asarray."
            )
        if self.values.ndim not in (1, 2) or (self.values.ndim == 2 and self.values.shape[1] == 0):
            raise errors.ShapeError(
                f"Column: values must be [N] or [N, C]; got {list(self.values.shape)}. Flatten what follows the sample."
            )
        _check_labels("Column", self.unit, self.kind)

    def __len__(self) -> int:
        """N."""
        return len(self.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Scores of the samples of one data set.

    Raises:
        ShapeError: A column has another length than ``index``, or ``index`` is not strictly increasing.
        ConfigError: There is no column, or ``main`` names none.
        NumericsError: A score is NaN; the text names the first sample and the column.
    """

    index: np.ndarray
    """int64 [N], the samples' places in the data set, strictly increasing."""
    columns: Mapping[str, Column]
    """Columns by name, in the order in which they are shown."""
    main: str | None = None
    """The column that was asked for; ``None`` means the first."""

    def __post_init__(self) -> None:
        index = self.index
        if not isinstance(index, np.ndarray) or index.dtype != np.int64 or index.ndim != 1:
            got = f"{index.dtype} {list(index.shape)}" if isinstance(index, np.ndarray) else type(index).__name__
            raise errors.ShapeError(f"Scores: index must be an int64 array [N]; got {got}. Use np.arange(N).")
        if len(index) and (index[0] < 0 or (np.diff(index) <= 0).any()):
            place = 0 if index[0] < 0 else int(np.argmax(np.diff(index) <= 0)) + 1
            raise errors.ShapeError(
                f"Scores: index must be non-negative and strictly increasing; got {index[place]} in row {place}. "
                "Sort the rows by their place in the data set."
            )
        if not self.columns:
            raise errors.ConfigError("Scores: columns must hold at least one column; got none. Pass the scores.")
        object.__setattr__(self, "columns", dict(self.columns))
        for name, column in self.columns.items():
            if not name or name == "index":
                raise errors.ConfigError(f"Scores: a column needs a name of its own; got {name!r}. Rename it.")
            if len(column) != len(index):
                raise errors.ShapeError(
                    f"Scores: column {name!r} must have one row a sample, {len(index)}; got {len(column)}. "
                    "Score the same samples in every column."
                )
            if column.values.dtype.kind == "f":
                missing = np.isnan(column.values).any(axis=tuple(range(1, column.values.ndim)))
                if missing.any():
                    raise errors.NumericsError(
                        f"Scores: {name!r} must be a number for every sample; got nan for sample "
                        f"{index[int(np.argmax(missing))]} ({int(missing.sum())} in all). "
                        "Look at this sample's input and at the model's outputs for it."
                    )
        if self.main is None:
            object.__setattr__(self, "main", next(iter(self.columns)))
        else:
            errors.check_choice("Scores", "main", self.main, self.columns)

    def __len__(self) -> int:
        """N, the number of samples."""
        return len(self.index)

    def __getitem__(self, name: str) -> Column:
        """The column called ``name``.

        Raises:
            ConfigError: There is none; the text names the nearest one.
        """
        errors.check_choice("Scores", "column", name, self.columns)
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return isinstance(name, str) and name in self.columns

    @property
    def values(self) -> np.ndarray:
        """The main column's values, [N] or [N, C]."""
        return self[self.main or ""].values

    @property
    def ids(self) -> np.ndarray:
        """The samples' places in the data set, int64 [N]."""
        return self.index

    def rows(self, start: int, stop: int) -> "Scores":
        """Rows ``start`` to ``stop`` (excluded), counted from 0 in this table."""
        columns = {
            name: Column(values=column.values[start:stop], unit=column.unit, source=column.source, kind=column.kind)
            for name, column in self.columns.items()
        }
        return Scores(index=self.index[start:stop], columns=columns, main=self.main)

    def largest(self, k: int, by: str | None = None) -> np.ndarray:
        """Rows of the ``k`` largest scores, largest first; equal scores in the order of the data set.

        Args:
            k: How many; all rows where there are fewer.
            by: A column with one number a sample; default the main one.

        Returns:
            int64 [min(k, N)], positions in this table: ``index[largest(k)]`` are places in the data set.

        Raises:
            ConfigError: No such column, or it has several numbers a sample, or k is negative.
        """
        column = self[by if by is not None else self.main or ""]
        if column.values.ndim != 1:
            raise errors.ConfigError(
                f"largest: by must name a column with one number a sample; got {by or self.main!r} with "
                f"{column.values.shape[1]}. Choose another column."
            )
        if k < 0:
            raise errors.ConfigError(f"largest: k must be at least 0; got {k}. Say how many rows to return.")
        # Ascending over the reversed rows, read backwards: negating would lose int64's minimum and bools.
        order = np.argsort(column.values[::-1], kind="stable")[::-1]
        return (len(self) - 1 - order)[:k].astype(np.int64)

    def suspicious(self, by: str) -> np.ndarray:
        """All rows from the suspicious end of a column with one number a sample; equal ones in the data set's order.

        Returns:
            int64 [N], positions in this table.

        Raises:
            ConfigError: No such column, or it has several numbers a sample.
        """
        if low_first(by) and self[by].values.ndim == 1:
            return np.argsort(self[by].values, kind="stable")
        return self.largest(len(self), by=by)

    def join(self, other: "Scores") -> "Scores":
        """Both tables' columns side by side; the main column is this table's.

        Raises:
            ShapeError: The tables are not about the same samples.
            ConfigError: A column name stands in both.
        """
        if not np.array_equal(self.index, other.index):
            raise errors.ShapeError(
                f"join: both tables must have the same index; got {len(self)} and {len(other)} rows that differ. "
                "Score the same samples with both measures."
            )
        both = [name for name in self.columns if name in other.columns]
        if both:
            raise errors.ConfigError(
                f"join: a column must stand in one table only; got {both[0]!r} in both. "
                "Score them apart, or leave one of the two measures out."
            )
        return Scores(index=self.index, columns={**self.columns, **other.columns}, main=self.main)

    def to_pandas(self) -> "pandas.DataFrame":
        """A DataFrame with one row a sample, its index the place in the data set; [N, C] becomes ``name_0`` and so on.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = errors.require("to_pandas", "pandas", "pandas")
        flat: dict[str, np.ndarray] = {}
        for name, column in self.columns.items():
            if column.values.ndim == 1:
                flat[name] = column.values
            else:
                flat.update({f"{name}_{c}": column.values[:, c] for c in range(column.values.shape[1])})
        return pandas.DataFrame(flat, index=pandas.Index(self.index, name="index"))


def ranks(values: np.ndarray) -> np.ndarray:
    """Float64 [N], ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number about a data set or a model.

    Raises:
        NumericsError: ``value`` is NaN, or ``stderr`` is NaN or negative.
        ConfigError: The unit or kind is none of those allowed, or the name is empty.
    """

    name: str
    """What it is, as shown: "AUROC"."""
    value: float
    """The number, in ``unit``."""
    stderr: float | None = None
    """Its standard error, in ``unit``; ``None`` where none was estimated."""
    unit: str = "1"
    """``nats``, ``nats^2`` or ``1``."""
    source: str = ""
    """Where the formula stands: "arXiv 2101.06640, eq. 5"."""
    kind: Kind = "estimate"
    """What the number may be taken for."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The terms it is made of, by name."""

    def __post_init__(self) -> None:
        if not self.name:
            raise errors.ConfigError("Estimate: name must not be empty; got ''. Say what the number is.")
        for what, number in (("value", self.value), *((f"parts[{key!r}]", part) for key, part in self.parts.items())):
            if math.isnan(number):
                raise errors.NumericsError(
                    f"Estimate: {what} of {self.name!r} must be a number; got nan. Look at what it is computed from."
                )
        if self.stderr is not None and not self.stderr >= 0:
            raise errors.NumericsError(
                f"Estimate: stderr of {self.name!r} must be at least 0; got {self.stderr}. "
                "Pass None where none is known."
            )
        _check_labels("Estimate", self.unit, self.kind)
        object.__setattr__(self, "parts", dict(self.parts))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON and the report's notes take them."""
        return {name: getattr(self, name) for name in ("name", "value", "stderr", "unit", "source", "kind", "parts")}
