"""What bounds are made of: information, what chance alone shows, and their spread over supersamples."""

from collections.abc import Sequence
from typing import Any

from infotorch.errors import require
from infotorch.report.bounds_series import GAP, Point, named, within
from infotorch.report.figure import Figure, Table
from infotorch.report.lines import room
from infotorch.report.numbers import bits, count, number, quantity
from infotorch.report.plots import specification

__all__ = ["information", "spread", "terms"]

ROW = 34
"""Height of a row, in pixels."""
RARE = 0.05
"""A larger share of shuffled masks is no sign that predictions depend on the masks."""


def information(point: Point) -> Figure:
    """Mean information of each bound, beside what the same count shows where there is none."""
    rows = []
    for id, bound in point.bounds.items():
        found, null = bound["information_mean"], bound["null_mean"]
        rows.append({
            "id": id, "value": found, "null": null, "seen": None, "vacuous": False, "of": named(id),
            "word": quantity(found, "nats"), "end": max(found, null, 0.0),
            "shown": f"{quantity(found, 'nats')} ({bits(found, 'nats')})", "chance": quantity(null, "nats"),
        })  # fmt: skip
    of = _subset(point)
    main = rows[0]
    return Figure(
        id="bounds-information",
        title=f"Information of {of}",
        kind="estimate",
        alt=f"Bars of mean information by bound, with what chance alone shows. {main['id']}: {main['shown']}, by "
        f"chance {main['chance']}.",
        caption=f"{point.name}. Bar: mean over {of}. Hollow circle: the same count where predictions have nothing to "
        f"do with the masks, which is bias alone. {_independence(point)}".strip(),
        spec=specification(_bars(rows, "Nats"), rows=rows),
        table=Table(
            caption="Mean information, and what chance alone shows",
            header=("Bound", "Information", "In bits", "By chance alone", "Pairs of a subset"),
            rows=tuple(
                (named(id), quantity(bound["information_mean"], "nats"), bits(bound["information_mean"], "nats"),
                 quantity(bound["null_mean"], "nats"), count(bound["m"]))
                for id, bound in point.bounds.items()
            ),
        ),
    )  # fmt: skip


def _independence(point: Point) -> str:
    share = point.report["independence"]
    if share is None:
        return ""
    text = f"Of shuffled masks {number(100 * share)} % show as much information as was found (diagnostic)"
    if share > RARE:
        text += ": no sign that predictions depend on what was trained on"
    return f"{text}."


def terms(point: Point, all_points: Sequence[Point]) -> Figure:
    """Each bound at ``point`` beside what chance alone shows and what was seen; the table has all points."""
    rows = []
    for id, bound in point.bounds.items():
        seen = point.seen(id)
        marks = ", vacuous" if bound["vacuous"] else ""
        rows.append({
            "id": id, "value": bound["value"], "null": bound["null_value"], "seen": seen, "of": named(id),
            "vacuous": bound["vacuous"], "word": number(bound["value"]) + marks,
            "end": max(bound["value"], bound["null_value"], seen or 0.0, 0.0),
            "shown": number(bound["value"]) + marks, "chance": number(bound["null_value"]),
            "beside": "not known for its loss" if seen is None else f"{number(seen)} ({_seen_name(bound)})",
        })  # fmt: skip
    vacuous = [row["id"] for row in rows if row["vacuous"]]
    told = "; ".join(f"{row['id']} {row['shown']}, by chance {row['chance']}" for row in rows)
    caption = [f"{point.name}. Bar: the bound. Hollow circle: the bound where predictions have nothing to do with the "
               "masks. Diamond: the gap that was seen"]  # fmt: skip
    risk = any(bound["of"] != GAP for bound in point.bounds.values())
    caption.append(", of bounds on the risk the test error." if risk else ".")
    if vacuous:
        caption.append(f" Hollow, dashed bars are vacuous: {', '.join(vacuous)}.")
    return Figure(
        id="bounds-terms",
        title="Each bound, chance and the gap",
        kind="estimate",
        alt=f"Bars of bounds. {told}.",
        caption="".join(caption),
        spec=specification(_bars(rows, "Bound"), rows=rows),
        table=Table(
            caption="The terms of each bound",
            header=("Bound", "Value", "Standard deviation", "95 % interval", "Information", "By chance alone",
                    "Bound by chance alone", "Seen beside it"),
            rows=tuple(
                (f"{at.name}: {id}" if len(all_points) > 1 else named(id), *_cells(at, id))
                for at in all_points
                for id in at.bounds
            ),
        ),
    )  # fmt: skip


def spread(point: Point) -> Figure | None:
    """Bounds and gap of each supersample; nothing of a single one."""
    report = point.report
    gaps = [test - train for train, test in zip(report["train_error"], report["test_error"], strict=True)]
    K1 = len(gaps)
    if K1 < 2:
        return None
    of_each: dict[str, tuple[list[float], float]] = {"gap": (gaps, report["gap"])}
    if any(bound["of"] != GAP for bound in point.bounds.values()):
        of_each["test error"] = report["test_error"], point.error("test_error")
    for id, bound in point.bounds.items():
        of_each[id] = bound["per_supersample"], bound["value"]
    whole = [id for id, (values, _) in of_each.items() if len(values) != K1]
    dots: list[dict[str, Any]] = [
        {"row": name, "x": value, "vacuous": name in point.bounds and value >= 1, "of": f"supersample {k + 1}",
         "shown": number(value) + (", vacuous" if name in point.bounds and value >= 1 else "")}
        for name, (values, _) in of_each.items() if name not in whole
        for k, value in enumerate(values)
    ]  # fmt: skip
    means: list[dict[str, Any]] = [
        {"row": name, "x": value, "shown": number(value)} for name, (_, value) in of_each.items()
    ]
    main = next(iter(point.bounds))
    values = of_each[main][0]
    said = f"{main} of {count(K1)} supersamples lies between {number(min(values))} and {number(max(values))}"
    if main in whole:
        said = f"The gap of {count(K1)} supersamples lies between {number(min(gaps))} and {number(max(gaps))}"
    caption = [f"{point.name}. {said}. Upright line: the estimate."]
    if any(dot["vacuous"] for dot in dots):
        caption.append("Hollow triangles: vacuous.")
    if whole:
        caption.append(f"One number of all supersamples: {', '.join(whole)}.")
    return Figure(
        id="bounds-spread",
        title="Spread over supersamples",
        kind="estimate",
        alt=f"A dot for each of {count(K1)} supersamples, in a row for the gap and for each bound. {said}.",
        caption=" ".join(caption),
        spec=specification(_strips(list(of_each), [row["x"] for row in dots + means]), dots=dots, means=means),
        table=Table(
            caption="By supersample",
            header=("Supersample", *(name for name in of_each if name not in whole)),
            rows=tuple(
                (str(k + 1), *(number(values[k]) for name, (values, _) in of_each.items() if name not in whole))
                for k in range(K1)
            ),
        ),
        wide=True,
    )  # fmt: skip


def _bars(rows: Sequence[dict[str, Any]], title: str) -> Any:
    alt = require("report", "altair", "report")
    low = min(0.0, *(value for row in rows for value in (row["value"], row["null"], row["seen"]) if value is not None))
    high = max(row["end"] for row in rows) or 1.0
    scale = alt.Scale(domain=[1.04 * low, high + room(row["word"] for row in rows) * (high - low)], nice=False)
    y = alt.Y("id:N", sort=[row["id"] for row in rows], title=None, axis=alt.Axis(grid=False, labelLimit=110))
    x = alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    tooltip = [alt.Tooltip("of:N", title="Bound"), alt.Tooltip("shown:N", title="Value"),
               alt.Tooltip("chance:N", title="By chance alone")]  # fmt: skip
    if any("beside" in row for row in rows):
        tooltip.append(alt.Tooltip("beside:N", title="Seen"))
    base = alt.Chart(alt.NamedData(name="rows")).encode(y=y, tooltip=tooltip)
    full, hollow = base.transform_filter("!datum.vacuous"), base.transform_filter("datum.vacuous")
    layers = [
        full.mark_bar(fill="var(--mark)", size=14).encode(x=x),
        hollow.mark_bar(fill="var(--paper)", stroke="var(--ink-2)", strokeDash=[3, 3], size=14).encode(x=x),
        base.mark_point(filled=False, stroke="var(--ink)", strokeWidth=1.5, size=60, opacity=1).encode(x="null:Q"),
        base.transform_filter("isValid(datum.seen)")
        .mark_point(shape="diamond", filled=True, fill="var(--ink)", size=70, opacity=1)
        .encode(x="seen:Q"),
        base.mark_text(align="left", dx=10, fill="var(--ink)").encode(x="end:Q", text="word:N"),
    ]
    return alt.layer(*layers).properties(width="container", height=max(70, ROW * len(rows)))


def _strips(names: Sequence[str], values: Sequence[float]) -> Any:
    alt = require("report", "altair", "report")
    y = alt.Y("row:N", sort=list(names), title=None, axis=alt.Axis(grid=False, labelLimit=110))
    domain = [1.04 * min(0.0, *values), 1.04 * max(0.0, *values) or 1.0]
    x = alt.X("x:Q", title="Bound, gap", axis=alt.Axis(tickCount=8), scale=alt.Scale(domain=domain, nice=False))
    tooltip = [alt.Tooltip("row:N", title="Of"), alt.Tooltip("of:N", title="Where"),
               alt.Tooltip("shown:N", title="Value")]  # fmt: skip
    dots = alt.Chart(alt.NamedData(name="dots")).encode(x=x, y=y, tooltip=tooltip)
    layers = [
        alt.Chart(alt.NamedData(name="means"))
        .mark_tick(color="var(--ink)", thickness=3, height=20, orient="vertical", opacity=1)
        .encode(x=x, y=y, tooltip=[tooltip[0], alt.Tooltip("shown:N", title="Estimate")]),
        dots.transform_filter("!datum.vacuous").mark_point(filled=True, fill="var(--accent)", size=45, opacity=0.6),
        dots.transform_filter("datum.vacuous").mark_point(
            shape="triangle-up", fill="var(--paper)", stroke="var(--accent)", size=70, opacity=1
        ),
    ]
    return alt.layer(*layers).properties(width="container", height=max(70, ROW * len(names)))


def _cells(point: Point, id: str) -> tuple[str, ...]:
    bound, seen = point.bounds[id], point.seen(id)
    return (
        number(bound["value"]) + (", vacuous" if bound["vacuous"] else ""),
        "n/a" if bound["std"] is None else number(bound["std"]),
        within(bound["interval"]),
        quantity(bound["information_mean"], "nats"),
        quantity(bound["null_mean"], "nats"),
        number(bound["null_value"]),
        "n/a" if seen is None else f"{number(seen)} ({_seen_name(bound)})",
    )


def _seen_name(bound: Any) -> str:
    return "gap" if bound["of"] == GAP else "test error"


def _subset(point: Point) -> str:
    sizes = {bound["m"] for bound in point.bounds.values()}
    return "a pair" if sizes == {1} else f"a subset of {' or '.join(map(str, sorted(sizes)))} pairs"
