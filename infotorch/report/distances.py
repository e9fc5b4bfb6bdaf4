"""Distances of all pairs of things, as a heat map with the tree of what is near on its left."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from infotorch.errors import DataError, ShapeError, require
from infotorch.report.figure import Figure, Table
from infotorch.report.numbers import number
from infotorch.report.plots import specification

__all__ = ["Tree", "distances", "tree"]

CELL, TREE = 34, 140
"""Pixels of a cell's side, and of the tree's width."""
WITH_NUMBERS = 16
"""Things whose distances are written in their cells."""


class Tree(NamedTuple):
    """Average linkage."""

    order: tuple[int, ...]
    """Places of the leaves, near ones beside each other."""
    merges: tuple[tuple[float, tuple[int, ...], tuple[int, ...]], ...]
    """Height and the leaves of both sides, in order of height."""
    lines: tuple[tuple[tuple[float, float], ...], ...]
    """(height, place among the leaves) of each merge's four corners."""


def tree(values: np.ndarray) -> Tree:
    """The tree of average linkage of distances [n, n], n >= 2; of (d(a, b) + d(b, a)) / 2 where they differ.

    Where some are negative, as task distances less those of the trivial task are, leaves stand at the least instead of
    at 0: a constant added to all distances moves the heights by it, and changes no merge.

    Raises:
        DataError: A distance is not finite.
        MissingExtraError: There is no SciPy.
        ShapeError: It is no square matrix of two things or more.
    """
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        raise ShapeError(
            f"report: distances must be [n, n] with n >= 2; got {list(values.shape)}. Give each pair's distance."
        )
    hierarchy = require("report", "scipy.cluster.hierarchy", "report")
    if not np.isfinite(values).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"report: distances must be finite; got {values[i, j]} from {i} to {j}. Leave out what has no distance."
        )
    pairs = ((values + values.T) / 2)[np.triu_indices(len(values), 1)]
    least = min(0.0, float(pairs.min()))
    rows = hierarchy.linkage(pairs - least, method="average", optimal_ordering=True)
    drawn = hierarchy.dendrogram(rows, no_plot=True)
    members: list[tuple[int, ...]] = [(i,) for i in range(len(values))]
    merges = []
    for a, b, height, _ in rows:
        left, right = members[int(a)], members[int(b)]
        merges.append((float(height) + least, left, right))
        members.append(left + right)
    lines = tuple(  # SciPy's leaves are 10 apart
        tuple((float(d) + least, (float(i) - 5) / 10) for d, i in zip(ds, places, strict=True))
        for ds, places in zip(drawn["dcoord"], drawn["icoord"], strict=True)
    )
    return Tree(order=tuple(int(i) for i in drawn["leaves"]), merges=tuple(merges), lines=lines)


def distances(names: Sequence[str], values: np.ndarray, *, title: str, caption: str, id: str = "distances") -> Figure:
    """A heat map of distances [n, n] in the order of their tree, which is drawn beside it.

    Args:
        names: Of the n things.
        values: Distances; row from, column to.
        title: Of the figure.
        caption: Beneath it.
        id: Of the figure.

    Raises:
        MissingExtraError: A library of the extra ``report`` is not installed.
        DataError: A distance is not finite.
        ShapeError: Names and values disagree.
    """
    altair = require("report", "altair", "report")
    if len(names) != len(values):
        raise ShapeError(f"report: names must be one a row; got {len(names)} for {len(values)}. Name each.")
    found = tree(values)
    n, order = len(names), found.order
    cells: list[dict[str, Any]] = [
        {"row": i, "column": j, "from": names[a], "to": names[b], "d": float(values[a, b]),
         "text": number(float(values[a, b]), 2)}
        for i, a in enumerate(order) for j, b in enumerate(order)
    ]  # fmt: skip
    corners = [
        {"merge": m, "corner": c, "height": height, "place": place}
        for m, line in enumerate(found.lines)
        for c, (height, place) in enumerate(line)
    ]
    labels = [{"place": i, "name": names[a]} for i, a in enumerate(order)]
    half = [-0.5, n - 0.5]
    y = {"scale": altair.Scale(domain=half[::-1], nice=False, zero=False), "axis": None}
    x = {"scale": altair.Scale(domain=half, nice=False, zero=False), "axis": None}
    branches = (
        altair.Chart(altair.NamedData(name="corners"))
        .mark_line(stroke="var(--ink-2)", strokeWidth=1.5, interpolate="linear")
        .encode(
            x=altair.X("height:Q", title="joined at", scale=altair.Scale(reverse=True, zero=True)),
            y=altair.Y("place:Q", **y),
            detail="merge:N",
            order="corner:O",
        )
        .properties(width=TREE, height=CELL * n)
    )
    marks = altair.Chart(altair.NamedData(name="cells"))
    heat = marks.mark_rect(width=CELL - 1, height=CELL - 1).encode(
        x=altair.X("column:Q", **x),
        y=altair.Y("row:Q", **y),
        color=altair.Color("d:Q", scale=altair.Scale(scheme="viridis", reverse=True, zero=True), legend=None),
        tooltip=["from:N", "to:N", "text:N"],
    )
    layers = [heat]
    if n <= WITH_NUMBERS:
        half_way = (min(0.0, *(cell["d"] for cell in cells)) + max(0.0, *(cell["d"] for cell in cells))) / 2
        layers.append(
            marks.mark_text(fontSize=10).encode(
                x=altair.X("column:Q", **x),
                y=altair.Y("row:Q", **y),
                text="text:N",
                color=altair.condition(f"datum.d > {half_way!r}", altair.value("white"), altair.value("black")),
            )
        )
    beside = (
        altair.Chart(altair.NamedData(name="labels"))
        .mark_text(align="left", fontSize=12)
        .encode(x=altair.value(CELL * n + 8), y=altair.Y("place:Q", **y), text="name:N")
    )
    grid = altair.layer(*layers, beside).properties(width=CELL * n, height=CELL * n)
    near = min((float(values[a, b]), a, b) for a in range(n) for b in range(n) if a != b)
    return Figure(
        id=id,
        title=title,
        kind="diagnostic",
        alt=f"{title}: {n} by {n} cells. The least distance is {number(near[0])}, of {names[near[1]]} and "
        f"{names[near[2]]}.",
        caption=caption,
        spec=specification(altair.hconcat(branches, grid, spacing=4), cells=cells, corners=corners, labels=labels),
        table=Table(
            caption=title,
            header=("", *(names[a] for a in order)),
            rows=tuple((names[a], *(number(float(values[a, b])) for b in order)) for a in order),
        ),
    )
