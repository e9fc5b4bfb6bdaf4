"""Two values of one score for some samples, and the line on which they are equal."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from infotorch.errors import require
from infotorch.report.axes import of_score
from infotorch.report.figure import Figure, Table
from infotorch.report.numbers import quantity
from infotorch.report.plots import ABOVE, TABLE_ROWS, specification
from infotorch.report.view import Score, View

__all__ = ["equality", "score_of"]

FEW = 60
"""Samples that large points can tell apart."""


def score_of(view: View, name: str | None) -> Score:
    """The score of that name, else the asked one."""
    return next((score for score in view.scores if score.name == name), view.scores[view.main])


def equality(
    view: View,
    score: Score,
    index: Sequence[int],
    values: Sequence[tuple[str, Sequence[float]]],
    *,
    id: str,
    alt: str,
    caption: str,
) -> Figure:
    """A scatter of samples at places ``index`` of the data set.

    Args:
        view: The run, which knows the samples' names.
        score: Whose unit and axis both values have.
        index: Places, [n].
        values: Word and values [n] of what is drawn to the right, then of what is drawn upward.
        id: Of the figure.
        alt: What it shows, for those who don't see it.
        caption: Beneath it.
    """
    altair = require("report", "altair", "report")
    (right, xs), (upward, ys) = values
    axis = of_score(dataclasses.replace(score, values=np.asarray([*xs, *ys], np.float64)))
    ids = {int(place): view.ids[row] for row, place in enumerate(view.index)}
    rows: list[dict[str, Any]] = [
        {"x": float(x), "y": float(y), "index": int(i), "name": ids.get(int(i), str(i)),
         right: quantity(x, score.unit), upward: quantity(y, score.unit)}
        for i, x, y in zip(index, xs, ys, strict=True)
    ]  # fmt: skip
    x = altair.X("x:Q", **dataclasses.replace(axis, title=f"{score.title}, {right}").encoding())
    y = altair.Y("y:Q", **dataclasses.replace(axis, title=upward.capitalize()).encoding(**ABOVE))
    ends = [{"x": axis.low, "y": axis.low}, {"x": axis.high, "y": axis.high}]
    chart = altair.layer(
        altair.Chart(altair.NamedData(name="ends"))
        .mark_line(stroke="var(--ink-2)", strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=y),
        altair.Chart(altair.NamedData(name="rows"))
        .mark_point(
            filled=True, fill="var(--accent)", size=64 if len(rows) <= FEW else 24, opacity=0.9, cursor="pointer"
        )
        .encode(x="x:Q", y="y:Q", tooltip=["name:N", f"{right}:N", f"{upward}:N"]),
    ).properties(width="container", height=360)
    return Figure(
        id=id,
        title=f"{score.title}: {right} and {upward}",
        kind="diagnostic",
        alt=alt,
        caption=caption,
        spec=specification(chart, ends=ends, rows=rows),
        table=Table(
            caption=f"{right.capitalize()} and {upward}",
            header=("Sample", right.capitalize(), upward.capitalize()),
            rows=tuple((row["name"], row[right], row[upward]) for row in rows[:TABLE_ROWS]),
        ),
    )
