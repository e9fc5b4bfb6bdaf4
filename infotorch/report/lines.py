"""Lines of a chart named at their ends instead of in a legend."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infotorch.errors import require

__all__ = ["ROOM", "drawn_names", "line_names", "room"]

ROOM, GAP = 0.25, 0.06
"""Beside a chart's lines for their names, as a share of its width; between two names, of its height."""
LETTER, NARROW, MOST = 7, 300, 0.4
"""Pixels of a letter, and of a chart on a phone; the share of such a chart that names may take."""


def room(texts: Iterable[str]) -> float:
    """What texts beside a chart's marks take on a phone, as a share of the width that the marks have."""
    share = min(MOST, LETTER * (3 + max(map(len, texts))) / NARROW)
    return share / (1 - share)


def drawn_names(x: Any, y: Any) -> Any:
    """The data "names", each behind a dot in the color of its line, as a chart to lay over the lines."""
    alt = require("report", "altair", "report")
    base = alt.Chart(alt.NamedData(name="names")).encode(x=x, y=y)
    fill = alt.Fill("color:N", scale=None)
    return alt.layer(
        base.mark_point(filled=True, opacity=1, size=30, xOffset=10).encode(fill=fill),
        base.mark_text(align="left", dx=17, fontSize=12, fill="var(--ink)").encode(text="line:N"),
    )


def line_names(rows: Sequence[Mapping[str, Any]], at: str, *, height: float | None = None) -> list[dict[str, Any]]:
    """Each line's name at its end, moved apart where lines end close to each other.

    Args:
        rows: Points with ``line``, ``y`` and ``color``, those of a line from left to right.
        at: The field with a point's place from left to right.
        height: From the lowest to the highest end of the axis; default that of the points.
    """
    ends = sorted({row["line"]: row for row in rows}.values(), key=lambda row: row["y"])
    if height is None:
        height = max(row["y"] for row in rows) - min(row["y"] for row in rows)
    place, found = -math.inf, []
    for row in ends:
        place = max(row["y"], place + GAP * height)
        found.append({at: row[at], "y": place, "line": row["line"], "color": row["color"]})
    return found
