"""Single samples of a scored data set, as rows of a table: id, given and suggested label, scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infotorch.cli.terminal import Terminal
from infotorch.cli.text import number, plain
from infotorch.table import Scores, stem_of, time_of

LABEL = 12  # cells


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The scores with what a person knows the samples by."""

    scores: Scores
    ids: Sequence[str]
    """[N]"""
    labels: Sequence[object]
    """[N]: a class, a number, or None."""
    names: dict[int, str]
    """Class -> its name, where it has one."""
    time: str | None = None
    """The ending of the columns to show, such as ``_steps_300``; default that of the last time there is."""

    def named(self, stem: str) -> str | None:
        """The column of this name at the time to show; standard errors are none."""
        found = [name for name in self.scores.columns if stem_of(name) == stem and not name.endswith("_stderr")]
        if self.time is not None:
            found = [name for name in found if time_of(name) == self.time]
        return found[-1] if found else None

    @property
    def suggested(self) -> np.ndarray | None:
        name = self.named("suggested_label")
        return None if name is None else self.scores[name].values

    def suspicious(self, k: int) -> np.ndarray:
        """Positions of the k samples to look at first, the most suspicious first.

        Labels that the network contradicts come before others, larger own residuals before smaller ones; the asked
        score takes the residual's place where a run has none, from the end that is suspicious.
        """
        by = self.named("own_residual") or self.scores.main or ""
        if self.scores[by].values.ndim != 1:
            return np.arange(min(k, len(self.scores)))
        order = self.scores.suspicious(by)
        if self.suggested is not None:
            suggested = self.suggested
            order = np.array(sorted(order, key=lambda i: self.labels[i] == int(suggested[i])), dtype=np.int64)
        return order[:k]

    def label(self, value: object) -> str:
        if isinstance(value, int) and value in self.names:
            return plain(self.names[value], LABEL)
        return plain(number(value) if isinstance(value, float) else "" if value is None else value, LABEL)

    def given(self, i: int) -> str:
        """``given → suggested``, or the given label alone where they agree."""
        given = self.label(self.labels[i])
        if self.suggested is None or int(self.suggested[i]) == self.labels[i]:
            return given
        return f"{given} → {self.label(int(self.suggested[i]))}"

    def print(self, terminal: Terminal, positions: Sequence[int] | np.ndarray, columns: Sequence[str]) -> None:
        """A table of the samples at ``positions`` with the scores named in ``columns``."""
        head = ["id", "given → suggested" if self.suggested is not None else "given"]
        head += [titled(self.scores, name) for name in columns]
        rows = [
            [str(self.ids[i]), self.given(int(i)), *(cell(self.scores[name].values[i]) for name in columns)]
            for i in positions
        ]
        terminal.table(head, rows, right=range(2, len(head)))

    def record(self, i: int) -> dict[str, object]:
        """Everything about the sample at position i, for JSON."""
        found: dict[str, object] = {"index": int(self.scores.index[i]), "id": str(self.ids[i]), "label": self.labels[i]}
        return found | {name: column.values[i].tolist() for name, column in self.scores.columns.items()}


def titled(scores: Scores, name: str) -> str:
    unit = scores[name].unit
    return name.replace("_", " ") + ("" if unit == "1" else f" [{unit}]")


def cell(value: np.generic) -> str:
    if np.ndim(value):
        return " ".join(number(float(v)) for v in np.asarray(value))
    return str(value.item()) if isinstance(value, np.bool_ | np.integer) else number(float(value))


def columns_of(scores: Scores) -> dict[str, dict[str, str]]:
    """Unit, kind and source of every column, for JSON."""
    return {n: {"unit": c.unit, "kind": c.kind, "source": c.source} for n, c in scores.columns.items()}
