"""Curves along a training: complexity of targets, similarity of kernels, agreement of a student with its teacher."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from infotorch.errors import DataError, require, unknown
from infotorch.report.figure import Figure, Table
from infotorch.report.lines import line_names, room
from infotorch.report.numbers import count, number
from infotorch.report.plots import ABOVE, specification
from infotorch.report.theme import CLASSES

__all__ = ["complexity", "fidelity", "similarity"]

WHERE = "report"
MEASURES = {
    "unit_adjusted": "Supervision complexity, adjusted for the scales of kernel and targets",
    "adjusted": "Supervision complexity, adjusted for the scale of the kernel",
    "complexity": "Supervision complexity",
    "quad": "Squared supervision complexity",
    "alignment": "Kernel-target alignment",
}


def complexity(rows: Sequence[Mapping[str, Any]], measure: str = "unit_adjusted") -> Figure:
    """Complexity of each target (labels, an offline teacher, an online one) over a student's training steps.

    Args:
        rows: Those of :func:`infotorch.pipeline.complexity_along` or of a ``SupervisionTrace``: step, target and the
            measure; of one ridge a step. Rows without a number are left out.
        measure: ``"unit_adjusted"``, ``"adjusted"``, ``"complexity"``, ``"quad"`` or ``"alignment"``.

    Raises:
        ConfigError: The measure is none of these.
        DataError: No row has a number.
    """
    if measure not in MEASURES:
        raise unknown(WHERE, "measure", measure, MEASURES)
    points = [(row["step"], str(row["target"]), row[measure]) for row in rows]
    title = MEASURES[measure]
    return _curves(f"complexity-{measure}", title, points, "Where it is large, the target is hard for the student.")


def similarity(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Centred alignment of the student's kernel with its teacher's over training steps.

    Args:
        rows: ``step``, ``similarity`` of :func:`infotorch.ntk_similarity`, and ``line``, the name of the training.

    Raises:
        DataError: No row has a number.
    """
    points = [(row["step"], str(row["line"]), row["similarity"]) for row in rows]
    return _curves("ntk-similarity", "Similarity of student’s and teacher’s kernel", points, "1: multiples of another.")


def fidelity(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of test samples on which student and teacher predict the same class, over training steps.

    Args:
        rows: ``step``, ``fidelity``, and ``line``, the name of the training.

    Raises:
        DataError: No row has a number.
    """
    points = [(row["step"], str(row["line"]), row["fidelity"]) for row in rows]
    return _curves("distillation-fidelity", "Agreement of student and teacher", points, "Share of equal predictions.")


def _curves(id: str, title: str, points: Sequence[tuple[int, str, float | None]], caption: str) -> Figure:
    alt = require(WHERE, "altair", "report")
    known = [(step, line, value) for step, line, value in points if value is not None and math.isfinite(value)]
    if not known:
        raise DataError(f"{WHERE}: a curve needs a row with a number; got none of {len(points)}. Pass finished rows.")
    lines = list(dict.fromkeys(line for _, line, _ in known))
    color = {line: CLASSES[place % len(CLASSES)] for place, line in enumerate(lines)}
    rows: list[dict[str, Any]] = [
        {"step": step, "y": value, "line": line, "color": color[line], "shown": number(value)}
        for step, line, value in sorted(known, key=lambda point: (lines.index(point[1]), point[0]))
    ]
    low, high = min(0.0, *(row["y"] for row in rows), 0.0), max(row["y"] for row in rows)
    high = high if high > low else low + 1
    names = line_names(rows, "step", height=high - low)
    high = max([high, *(name["y"] for name in names)])
    first, last = min(row["step"] for row in rows), max(row["step"] for row in rows)
    wide = max(1, last - first) * (1 + room(lines))
    steps = sorted({row["step"] for row in rows})
    axis = alt.Axis(values=steps, format=",d", labelOverlap="greedy")
    x = alt.X("step:Q", title="Step", scale=alt.Scale(domain=[first, first + wide], nice=False), axis=axis)
    y = alt.Y("y:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(**ABOVE))
    tooltip = [alt.Tooltip("line:N", title="Line"), alt.Tooltip("step:Q", title="Step", format=",d"),
               alt.Tooltip("shown:N", title="Value")]  # fmt: skip
    base = alt.Chart(alt.NamedData(name="rows")).encode(x=x, y=y, detail="line:N", tooltip=tooltip)
    chart = alt.layer(
        base.mark_line(strokeWidth=2).encode(stroke=alt.Stroke("color:N", scale=None)),
        base.mark_point(filled=True, opacity=1, size=40).encode(fill=alt.Fill("color:N", scale=None)),
        alt.Chart(alt.NamedData(name="names"))
        .mark_text(align="left", dx=8, fontSize=12, fill="var(--ink)")
        .encode(x=x, y="y:Q", text="line:N"),
    ).properties(width="container", height=320)
    ends = {line: [row for row in rows if row["line"] == line] for line in lines}
    told = "; ".join(f"{line} {found[0]['shown']} to {found[-1]['shown']}" for line, found in ends.items())
    cells = {(row["line"], row["step"]): row["shown"] for row in rows}
    return Figure(
        id=id,
        title=title,
        kind="diagnostic",
        alt=f"{title} over steps {count(first)} to {count(last)}: {told}.",
        caption=f"{caption} First to last: {told}.",
        spec=specification(chart, rows=rows, names=names),
        table=Table(
            caption=f"{title} by step",
            header=("Step", *lines),
            rows=tuple((count(step), *(cells.get((line, step), "") for line in lines)) for step in steps),
        ),
    )
