"""Bounds estimated at one or several sizes of the training set and epochs, as the report reads them of the note."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from infotorch.report.numbers import number

__all__ = ["GAP", "Point", "named", "points", "thinned", "trained", "within"]

GAP = "expected gap"
NAMES = {
    "fcmi": "from predictions",
    "ecmi": "from losses",
    "ld": "from differences of losses",
    "ld_flat": "from differences of losses, all supersamples as one",
    "kl": "from losses and the train error",
    "interp": "from losses, for no train error",
}
"""What the information is of, by bound; the first bound of a run in this order is its main one."""
T = TypeVar("T")
NEAR = 1e-9
"""Two gaps as close as this are those of one loss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """The bounds at one size and epoch."""

    name: str
    n: int
    """Training samples of a run."""
    checkpoint: int | None
    """The epoch; ``None``: of the trained network."""
    report: Mapping[str, Any]
    """``infotorch.bounds.Report.as_dict()``."""

    @property
    def bounds(self) -> dict[str, Mapping[str, Any]]:
        """By name, the main one first."""
        order = [*NAMES, *self.report["bounds"]]
        return dict(sorted(self.report["bounds"].items(), key=lambda pair: order.index(pair[0])))

    def of(self, what: str) -> list[str]:
        """Names of the bounds on ``what``: the expected gap, or the population risk."""
        return [id for id, bound in self.bounds.items() if bound["of"] == what]

    def seen(self, id: str) -> float | None:
        """What was seen of that which the bound ``id`` is on; ``None``: the runs' errors are of another loss."""
        bound = self.bounds[id]
        if bound["of"] == GAP:
            return float(bound["gap"])
        return self.error("test_error") if self.own_loss(id) else None

    def own_loss(self, id: str) -> bool:
        """Whether the bound is of the loss that train and test error are of."""
        return math.isclose(self.bounds[id]["gap"], self.report["gap"], rel_tol=NEAR, abs_tol=NEAR)

    def seen_interval(self, id: str) -> tuple[float, float] | None:
        """Of ``seen``, where there is one."""
        pair = self.report["gap_interval"] if self.bounds[id]["of"] == GAP and self.own_loss(id) else None
        return None if pair is None else (float(pair[0]), float(pair[1]))

    def error(self, key: str) -> float:
        """Mean over supersamples of ``train_error`` or ``test_error``."""
        return math.fsum(self.report[key]) / len(self.report[key])

    @property
    def runs(self) -> str:
        """3 × 20, or the runs of each supersample where they differ."""
        runs = self.report["num_runs"]
        return f"{len(runs)} × {runs[0]}" if len(set(runs)) == 1 else " + ".join(map(str, runs))


def points(note: Mapping[str, Any]) -> list[Point]:
    """The series by size, then by epoch; the trained network comes last."""
    found = [Point(**{key: entry[key] for key in ("name", "n", "checkpoint", "report")}) for entry in note["series"]]
    return sorted(found, key=lambda point: (point.n, _epoch(point)))


def trained(series: Sequence[Point]) -> list[Point]:
    """Of each size the last epoch."""
    last = {point.n: _epoch(point) for point in series}
    return [point for point in series if _epoch(point) == last[point.n]]


def thinned(series: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly spread, with the first and the last."""
    if len(series) <= most:
        return list(series)
    return [series[round(place * (len(series) - 1) / (most - 1))] for place in range(most)]


def named(id: str) -> str:
    """The bound's name with what its information is of."""
    return f"{id}, {NAMES[id]}" if id in NAMES else id


def within(pair: Sequence[float] | None) -> str:
    """An interval in words; n/a of none."""
    return "n/a" if pair is None else f"{number(pair[0])} to {number(pair[1])}"


def _epoch(point: Point) -> float:
    return math.inf if point.checkpoint is None else point.checkpoint
