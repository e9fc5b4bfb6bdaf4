"""The transition of a sweep of beta: information and training accuracy, a line for each share of random labels."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from infotorch.errors import DataError, require
from infotorch.report.figure import Figure, Table
from infotorch.report.lines import line_names, room
from infotorch.report.numbers import number
from infotorch.report.plots import ABOVE, specification
from infotorch.report.theme import CLASSES

__all__ = ["transition"]

SHOWN = {
    "kl": ("Information in the weights", "KL in nats a sample"),
    "train_acc": ("Accuracy on the labels trained on", "Accuracy (%)"),
}


def transition(rows: Sequence[Mapping[str, Any]]) -> tuple[Figure, ...]:
    """KL over N, and accuracy on the labels trained on, against beta; the points are means over seeds.

    Without classes, where ``train_acc`` is ``None`` in every row, there is no figure of the accuracy.

    Args:
        rows: With ``beta``, ``corruption``, ``kl`` and ``train_acc``, as ``SweepRow.as_dict()`` gives them.

    Raises:
        DataError: There are none.
    """
    if not rows:
        raise DataError("report: a sweep must have rows; got none. Run infotorch sweep beta first.")
    return tuple(_figure(what, rows) for what in SHOWN if any(row[what] is not None for row in rows))


def _figure(what: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    title, axis = SHOWN[what]
    scale = 100 if what == "train_acc" else 1
    levels = sorted({row["corruption"] for row in rows})
    points: list[dict[str, Any]] = []
    for place, level in enumerate(levels):
        own = [row for row in rows if row["corruption"] == level and row[what] is not None]
        for beta in sorted({row["beta"] for row in own}, reverse=True):
            y = scale * statistics.fmean(row[what] for row in own if row["beta"] == beta)
            points.append({"beta": beta, "y": y, "line": _name(level), "shown": number(y),
                           "color": CLASSES[place % len(CLASSES)]})  # fmt: skip
    ends: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        ends.setdefault(point["line"], []).append(point)
    told = "; ".join(f"{line} {found[-1]['shown']} to {found[0]['shown']}" for line, found in ends.items())
    betas = sorted({row["beta"] for row in rows})
    between = f"beta = {betas[0]:g} to {betas[-1]:g}"
    seeds = max(sum(1 for row in rows if (row["beta"], row["corruption"]) == (b, c)) for b in betas for c in levels)
    return Figure(
        id=f"sweep-{what.replace('_', '-')}",
        title=f"{title} against beta",
        kind="estimate",
        alt=f"Lines by share of random labels, {axis} at {between}: {told}.",
        caption=f"{axis} of weights drawn from the trained posterior at {between}: {told}. {_means(seeds)} a "
        "training may stop above the least C_beta.",
        spec=_spec(axis, points, betas),
        table=Table(
            caption=f"{axis} by beta",
            header=("Beta", *ends),
            rows=tuple(
                (f"{beta:g}", *(next((p["shown"] for p in own if p["beta"] == beta), "") for own in ends.values()))
                for beta in betas
            ),
        ),
    )


def _spec(axis: str, points: list[dict[str, Any]], betas: Sequence[float]) -> dict[str, Any]:
    alt = require("report", "altair", "report")
    # Names stand at the end where lines are further apart: between the ends a line would go through its own.
    at = max(betas[0], betas[-1], key=lambda beta: _spread([point["y"] for point in points if point["beta"] == beta]))
    height = _spread([point["y"] for point in points])
    names = line_names([point for point in points if point["beta"] == at], "beta", height=height)
    left, right = 0.9 * betas[0], 1.1 * betas[-1]
    first = at == betas[0]
    space = (right / left) ** room(name["line"] for name in names)
    domain = [left / space, right] if first else [left, right * space]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    x = alt.X("beta:Q", title="Beta", scale=scale, axis=alt.Axis(values=list(betas), format="~g"))
    y = alt.Y("y:Q", title=axis, axis=alt.Axis(**ABOVE))
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=x,
        y=y,
        detail="line:N",
        tooltip=[alt.Tooltip("line:N", title="Labels"), alt.Tooltip("beta:Q", title="Beta"),
                 alt.Tooltip("shown:N", title=axis)],
    )  # fmt: skip
    layers = [
        base.mark_line(strokeWidth=2).encode(stroke=alt.Stroke("color:N", scale=None)),
        base.mark_point(filled=True, opacity=1, size=40).encode(fill=alt.Fill("color:N", scale=None)),
        alt.Chart(alt.NamedData(name="names")).mark_text(
            align="right" if first else "left", dx=-8 if first else 8, fontSize=12, fill="var(--ink)"
        )
        .encode(x=x, y="y:Q", text="line:N"),
    ]  # fmt: skip
    return specification(alt.layer(*layers).properties(width="container", height=360), rows=points, names=names)


def _spread(values: Sequence[float]) -> float:
    return max(values, default=0.0) - min(values, default=0.0)


def _name(corruption: float) -> str:
    return f"{100 * corruption:g} % random"


def _means(seeds: int) -> str:
    return f"Means over {seeds} seeds;" if seeds > 1 else "Of one seed;"
