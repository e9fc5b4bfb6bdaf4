"""Bounds against what was seen, over the size of the training set and over epochs."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from infotorch.errors import require
from infotorch.report.bounds_series import GAP, Point, thinned, trained, within
from infotorch.report.figure import Figure, Table
from infotorch.report.lines import drawn_names, line_names, room
from infotorch.report.numbers import count, number
from infotorch.report.plots import ABOVE, specification

__all__ = ["RISK", "curves"]

RISK = "population risk"
SEEN, SEEN_SHORT = {GAP: "gap", RISK: "test error"}, {GAP: "gap", RISK: "error"}
COLORS = ("var(--accent)", "var(--class-4)", "var(--class-2)")
"""Of the drawn bounds, or of the drawn sizes: as many as one chart can hold."""
MOST_EPOCHS, MOST_TOLD = 100, 4
"""Epochs that one chart can tell apart; lines that a caption can."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
    """A bound along some points, or what was seen beside it."""

    name: str
    id: str
    points: Sequence[Point]
    color: str
    seen: bool = False


def curves(series: Sequence[Point]) -> list[Figure]:
    """Charts over n and over epochs, each of bounds on the gap and of bounds on the risk; those that have a line."""
    drawn = [draw(series, what) for what in SEEN for draw in (_over_n, _over_epochs)]
    found = [figure for figure in drawn if figure is not None]
    if len(found) % 2:
        found[-1] = dataclasses.replace(found[-1], wide=True)
    return found


def _over_n(series: Sequence[Point], what: str) -> Figure | None:
    chosen = [point for point in trained(series) if point.of(what)]
    if len({point.n for point in chosen}) < 2:
        return None
    ids = _comparable(chosen, what)
    return _figure(_lines(chosen, ids, what), what, "n", chosen, "")


def _over_epochs(series: Sequence[Point], what: str) -> Figure | None:
    """One size: several bounds; several sizes: of each the main bound."""
    grouped = itertools.groupby(
        [point for point in series if point.checkpoint is not None and point.of(what)], key=lambda point: point.n
    )
    every = {n: list(group) for n, group in grouped}
    groups = {n: thinned(group, MOST_EPOCHS) for n, group in every.items() if len(group) > 1}
    if not groups:
        return None
    left_out = sum(len(group) for n, group in every.items() if n in groups) - sum(map(len, groups.values()))
    said = f"{count(left_out)} epochs between those drawn are left out." if left_out else ""
    shown = list(itertools.chain(*groups.values()))
    if len(groups) == 1:
        return _figure(_lines(shown, _comparable(shown, what), what), what, "epoch", shown, said)
    lines = []
    drawn = thinned(list(groups.values()), len(COLORS))
    for color, group in zip(COLORS, drawn, strict=False):
        id = _comparable(group, what)[0]
        lines += _lines(group, [id], what, color=color, of=f", n = {count(group[0].n)}")
    if len(drawn) < len(groups):
        said += f" {len(drawn)} of {len(groups)} sizes are drawn; all are in the table."
    return _figure(lines, what, "epoch", shown, said.strip())


def _comparable(chosen: Sequence[Point], what: str) -> list[str]:
    """Bounds on one and the same thing: those for which the same was seen as for the main one, wherever they are."""
    main = chosen[-1].of(what)[0]

    def same(id: str) -> bool:
        both = [point for point in chosen if id in point.bounds and main in point.bounds]
        return all(point.seen(id) == point.seen(main) for point in both)

    ids = dict.fromkeys(id for point in chosen for id in point.of(what))
    return [main, *(id for id in ids if id != main and same(id))]


def _lines(
    chosen: Sequence[Point], ids: Sequence[str], what: str, *, color: str | None = None, of: str = ""
) -> list[_Line]:
    drawn = [
        _Line(name=f"{id}{of}", id=id, points=[p for p in chosen if id in p.bounds], color=color or COLORS[place])
        for place, id in enumerate(ids[: len(COLORS)])
    ]
    known = [p for p in chosen if ids[0] in p.bounds and p.seen(ids[0]) is not None]
    if known:
        name = f"{SEEN_SHORT[what]}{of}" if of else SEEN[what]
        drawn.append(_Line(name=name, id=ids[0], points=known, color=color or "var(--ink)", seen=True))
    return drawn


def _figure(lines: Sequence[_Line], what: str, x: str, shown: Sequence[Point], said: str) -> Figure:
    rows = [row for line in lines for row in _rows(line, x)]
    intervals = [row for row in rows if row["low"] is not None]
    vacuous = any(row["vacuous"] for row in rows)
    ends = {line.name: [row for row in rows if row["line"] == line.name] for line in lines}
    told = "; ".join(
        f"{name} {number(found[0]['y'])} to {number(found[-1]['y'])}" for name, found in ends.items() if found
    )
    along = "over the number of training samples" if x == "n" else "over epochs"
    drawn = {line.id for line in lines}
    others = [id for id in dict.fromkeys(id for point in shown for id in point.of(what)) if id not in drawn]
    caption = [f"From the first to the last: {told}." if len(lines) <= MOST_TOLD else "",
               f"Dashed: {SEEN[what]}." if any(line.seen for line in lines) else "",
               "Upright strokes: 95 % bootstrap intervals over supersamples." if intervals else "",
               "Hollow triangles: vacuous." if vacuous else "",
               f"In the table alone: {', '.join(others)}." if others else "", said]  # fmt: skip
    title = "Bound and gap" if what == GAP else "Bound on the risk and test error"
    return Figure(
        id=f"bounds-{'gap' if what == GAP else 'risk'}-{x}",
        title=f"{title} {along}",
        kind="estimate",
        alt=f"Lines {along}, from the first to the last: {told}." + (" Some bounds are vacuous." if vacuous else ""),
        caption=" ".join(part for part in caption if part),
        spec=_spec(rows, intervals, x, what),
        table=_table(shown, what, f"{title} {along}"),
    )


def _rows(line: _Line, x: str) -> Iterable[dict[str, Any]]:
    for point in line.points:
        bound = point.bounds[line.id]
        y = point.seen(line.id) if line.seen else bound["value"]
        interval = point.seen_interval(line.id) if line.seen else bound["interval"]
        vacuous = not line.seen and bound["vacuous"]
        assert y is not None
        yield {
            x: point.n if x == "n" else point.checkpoint, "y": y, "line": line.name, "color": line.color,
            "seen": line.seen, "vacuous": vacuous, "at": point.name,
            "shown": number(y) + (", vacuous" if vacuous else ""), "interval": within(interval),
            "low": None if interval is None else interval[0], "high": None if interval is None else interval[1],
        }  # fmt: skip


def _spec(rows: list[dict[str, Any]], intervals: list[dict[str, Any]], x: str, what: str) -> dict[str, Any]:
    ends = [0.0, *(row["y"] for row in rows), *(row[key] for row in intervals for key in ("low", "high"))]
    names = line_names(rows, x, height=max(ends) - min(ends))
    top = max(*ends, *(name["y"] for name in names)) or 1.0
    chart = _chart(rows, x, what, (1.04 * min(ends), 1.04 * top))
    ceiling = [{"y": 1, "word": "vacuous from here up"}]
    return specification(chart, rows=rows, intervals=intervals, ceiling=ceiling, names=names)


def _chart(rows: Sequence[dict[str, Any]], x: str, what: str, domain: tuple[float, float]) -> Any:
    alt = require("report", "altair", "report")
    low, high = min(row[x] for row in rows), max(row[x] for row in rows)
    beside = room(row["line"] for row in rows)
    if x == "n":
        scale = alt.Scale(type="log", domain=[low, high * (high / low) ** beside], nice=False)
        axis = alt.Axis(values=sorted({row[x] for row in rows}), format=",d", labelOverlap="greedy")
        place = alt.X("n:Q", title="Training samples (n)", scale=scale, axis=axis)
    else:
        ticks = sorted({low, *(round(low + k * (high - low) / 5) for k in range(1, 6))})
        scale = alt.Scale(domain=[low, high + beside * (high - low)], nice=False)
        place = alt.X("epoch:Q", title="Epoch", scale=scale, axis=alt.Axis(values=ticks, format=",d"))
    height = alt.Scale(domain=domain, nice=False)
    y = alt.Y("y:Q", title=f"Bound, {SEEN[what]}", scale=height, axis=alt.Axis(**ABOVE))
    stroke, fill = alt.Stroke("color:N", scale=None), alt.Fill("color:N", scale=None)
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=place,
        y=y,
        detail="line:N",
        tooltip=[alt.Tooltip("line:N", title="Of"), alt.Tooltip("at:N", title="Where"),
                 alt.Tooltip("shown:N", title="Value"), alt.Tooltip("interval:N", title="95 % interval")],
    )  # fmt: skip
    crowded = len(rows) > 100
    layers = [
        alt.Chart(alt.NamedData(name="intervals"))
        .mark_rule(strokeWidth=1.5, opacity=0.35 if crowded else 0.7)
        .encode(x=place, y="low:Q", y2="high:Q", stroke=stroke),
        base.mark_line(strokeWidth=2).encode(
            stroke=stroke, strokeDash=alt.condition("datum.seen", alt.value([5, 4]), alt.value([1, 0]))
        ),
        base.transform_filter("!datum.vacuous").mark_point(filled=True, opacity=1, size=10 if crowded else 40)
        .encode(fill=fill),
        base.transform_filter("datum.vacuous").mark_point(shape="triangle-up", fill="var(--paper)", opacity=1,
                                                          size=40 if crowded else 90, strokeWidth=1.5)
        .encode(stroke=stroke),
    ]  # fmt: skip
    if any(row["vacuous"] for row in rows):
        ceiling = alt.Chart(alt.NamedData(name="ceiling"))
        layers += [
            ceiling.mark_rule(stroke="var(--ink-2)", strokeWidth=1).encode(y="y:Q"),
            ceiling.mark_text(align="right", baseline="bottom", dy=-3).encode(
                x=alt.value("width"), y="y:Q", text="word:N"
            ),
        ]
    layers.append(drawn_names(place, "y:Q"))
    return alt.layer(*layers).properties(width="container", height=320)


def _table(shown: Sequence[Point], what: str, caption: str) -> Table:
    ids = list(dict.fromkeys(id for point in shown for id in point.of(what)))
    rows = []
    for point in shown:
        errors = [number(100 * point.error(key)) + " %" for key in ("train_error", "test_error")]
        gap = f"{number(point.report['gap'])} ({within(point.report['gap_interval'])})"
        rows.append((point.name, gap, *(_cell(point, id) for id in ids), *errors))
    return Table(
        caption=caption,
        header=("Runs", "Gap (95 % interval)", *(f"{id} (95 % interval)" for id in ids), "Train error", "Test error"),
        rows=tuple(rows),
    )


def _cell(point: Point, id: str) -> str:
    bound = point.bounds.get(id)
    if bound is None:
        return ""
    return f"{number(bound['value'])} ({within(bound['interval'])})" + (", vacuous" if bound["vacuous"] else "")
