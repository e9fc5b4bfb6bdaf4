"""Charts of the scores of single samples: each function returns a figure with its Vega-Lite specification.

Single samples are not inlined: a chart that draws them reads the data ``samples``, and the marked sample
``selected``, which ``charts.js`` fills from the one table of the page. There a score is ``c0``, ``c1``, ...
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infotorch.errors import require
from infotorch.report import theme
from infotorch.report.axes import Axis, of_score, significant
from infotorch.report.figure import Figure, Table
from infotorch.report.numbers import bits, count, number, percent, quantity
from infotorch.report.view import Score, View, spearman

__all__ = ["ABOVE", "TABLE_ROWS", "Group", "distribution", "scatter", "specification", "spread"]

Group = tuple[str, np.ndarray]  # name and positions

FEWEST_BINS, MOST_BINS = 16, 48
MAX_CLASSES = 12
TABLE_ROWS = 50
ROW_HEIGHT = 40
_NAME_LENGTH = 18
ABOVE = {"titleAnchor": "end", "titleAngle": 0, "titleAlign": "left", "titleY": -12, "titleBaseline": "bottom"}


def distribution(view: View, place: int) -> Figure:
    """The histogram of score ``place`` over all samples and, row by row, over each class."""
    alt = require("report", "altair", "report")
    score = view.scores[place]
    groups = _class_rows(view, score)
    axis = of_score(score)
    typical = float(np.median([len(rows) for _, rows, _ in groups]))
    wide = place == 0 and len(view.scores) % 2 == 1
    bins = int(np.clip((6 if wide else 4) * np.sqrt(typical), FEWEST_BINS, MOST_BINS))
    values, edges = axis.clip(score.values), axis.edges(bins)
    histograms = [np.histogram(values[rows], edges)[0] for _, rows, _ in groups]
    bars, medians = [], []
    for row, ((name, rows, color), histogram) in enumerate(zip(groups, histograms, strict=True)):
        base = len(groups) - 1 - row
        for b in np.flatnonzero(histogram):
            bars.append(
                {
                    "x": significant(edges[b]),
                    "x2": significant(edges[b + 1]),
                    "y": base,
                    "y2": significant(base + 0.84 * histogram[b] / histogram.max(), 4),
                    "color": color,
                    "values": f"{number(edges[b])} to {quantity(edges[b + 1], score.unit)}",
                    "bits": f"{bits(edges[b], score.unit)} to {bits(edges[b + 1], score.unit)}",
                    "samples": f"{count(histogram[b])} of {count(len(rows))}, {name}",
                }
            )
        if len(rows):
            middle = float(np.median(values[rows]))
            medians.append({"x": significant(middle), "y": base - 0.02, "y2": base + 0.3,
                            "median": quantity(middle, score.unit), "of": name})  # fmt: skip
    row_of_class = _row_of_class(view, groups)
    x = alt.X("x:Q", **axis.encoding())
    y_scale = alt.Scale(domain=[-0.28, len(groups) - 0.05], nice=False, zero=False)
    names = [_short(name) for name, _, _ in reversed(groups)]
    rows = alt.Axis(values=list(range(len(groups))), labelExpr="row_names[datum.value]", grid=False, labelLimit=110)
    y = alt.Y("y:Q", scale=y_scale, axis=rows, title=None)
    tooltip = [alt.Tooltip("values:N", title=score.title), alt.Tooltip("samples:N", title="Samples")]
    if score.unit == "nats":
        tooltip.insert(1, alt.Tooltip("bits:N", title="In bits"))
    layers = [
        alt.Chart(alt.NamedData(name="bars"))
        .mark_rect(stroke="var(--paper)", strokeWidth=0.5)
        .encode(x=x, x2="x2:Q", y=y, y2="y2:Q", fill=alt.Fill("color:N", scale=None), tooltip=tooltip),
        alt.Chart(alt.NamedData(name="medians"))
        .mark_rule(stroke="var(--ink)", strokeWidth=2)
        .encode(x="x:Q", y="y:Q", y2="y2:Q", tooltip=["median:N", "of:N"]),
    ]
    key = f"c{place}"
    if view.wrong.any():
        layers.append(
            alt.Chart(alt.NamedData(name="samples"))
            .transform_filter("datum.odd")
            .transform_calculate(drawn=axis.clamp(key), row="row_of_class[datum.code] - 0.06", row2="datum.row - 0.17")
            .mark_rule(stroke="var(--accent)", strokeWidth=1.5, opacity=0.8)
            .encode(x="drawn:Q", y="row:Q", y2="row2:Q")
        )
    selected = alt.Chart(alt.NamedData(name="selected")).transform_calculate(
        drawn=axis.clamp(key), row1="row_of_class[datum.code] - 0.25", row2="row_of_class[datum.code] + 0.55"
    )
    layers += [
        selected.mark_rule(stroke="var(--ink)", strokeWidth=1.5).encode(x="drawn:Q", y="row1:Q", y2="row2:Q"),
        selected.mark_point(shape="diamond", filled=True, fill="var(--ink)", size=70, opacity=1).encode(
            x="drawn:Q", y="row2:Q"
        ),
    ]
    chart = alt.layer(*layers).properties(width="container", height=max(150, ROW_HEIGHT * len(groups)))
    chart = chart.add_params(
        alt.param(name="row_names", value=names), alt.param(name="row_of_class", value=row_of_class)
    )
    of_all = quantity(float(np.median(score.values)), score.unit)
    return Figure(
        id=f"distribution-{place}",
        title=score.title,
        kind=score.kind,
        alt=f"Histograms of {score.titled} for {_groups_in_words(view, groups)}. Median of all samples: {of_all}.",
        caption=f"{score.meaning} {axis.note}".strip(),
        spec=specification(chart, bars=bars, medians=medians, samples=[], selected=[]),
        table=quantiles(f"{score.title} by class" if view.classes else score.title, score,
                        [(name, rows) for name, rows, _ in groups]),
        wide=wide,
    )  # fmt: skip


def spread(
    score: Score, name: str, groups: Sequence[Group], axis: Axis, *, place: int, ordered: bool = False
) -> Figure:
    """Quartiles of ``score`` in each group of samples, the group with the largest median first.

    Args:
        score: What is drawn.
        name: What the groups are by: "class", or the name of a metadata column.
        groups: Name and positions of each group; none is empty.
        axis: The range that holds the 10th and 90th percentile of all groups.
        place: Of the figure on the page, for its address.
        ordered: Whether the groups have an order of their own, which is kept.
    """
    alt = require("report", "altair", "report")
    if not ordered:
        groups = sorted(groups, key=lambda group: -float(np.median(score.values[group[1]])))
    more = f"The {MAX_CLASSES} largest medians of {count(len(groups))}." if len(groups) > MAX_CLASSES else ""
    rows: list[dict[str, Any]] = []
    for row, (group, positions) in enumerate(groups[:MAX_CLASSES]):
        tenths = np.percentile(axis.clip(score.values[positions]), [10, 25, 50, 75, 90])
        a, b, c, d, e = (significant(q) for q in tenths)
        rows.append({"row": row, "q10": a, "q25": b, "median": c, "q75": d, "q90": e, "group": group,
                     "shown": quantity(c, score.unit), "bits": bits(c, score.unit),
                     "half": f"{number(b)} to {quantity(d, score.unit)}", "n": count(len(positions))})  # fmt: skip
    y = alt.Y("row:O", title=None, axis=alt.Axis(labelExpr="row_names[datum.value]", grid=False, labelLimit=150))
    tooltip = [alt.Tooltip("group:N", title=name), alt.Tooltip("shown:N", title="Median"),
               alt.Tooltip("half:N", title="Middle half"), alt.Tooltip("n:N", title="Samples")]  # fmt: skip
    if score.unit == "nats":
        tooltip.insert(2, alt.Tooltip("bits:N", title="Median in bits"))
    base = alt.Chart(alt.NamedData(name="groups"))
    x = alt.X("q10:Q", **axis.encoding())
    chart = (
        alt.layer(
            base.mark_rule(stroke="var(--ink-2)", strokeWidth=1).encode(x=x, x2="q90:Q", y=y, tooltip=tooltip),
            base.mark_rule(stroke="var(--mark)", strokeWidth=10).encode(x="q25:Q", x2="q75:Q", y=y, tooltip=tooltip),
            base.mark_tick(color="var(--ink)", thickness=3, height=18, orient="vertical", opacity=1).encode(
                x="median:Q", y=y, tooltip=tooltip
            ),
        )
        .properties(width="container", height=max(60, 30 * len(rows)))
        .add_params(alt.param(name="row_names", value=[_short(row["group"]) for row in rows]))
    )
    by_median = sorted(rows, key=lambda row: row["median"])
    return Figure(
        id=f"spread-{place}",
        title=f"By {name}",
        kind=score.kind,
        alt=f"{score.titled} by {name}. Largest median: {by_median[-1]['shown']} ({_short(by_median[-1]['group'])}). "
        f"Smallest shown: {by_median[0]['shown']} ({_short(by_median[0]['group'])}).",
        caption=more,
        spec=specification(chart, groups=rows),
        table=quantiles(f"{score.title} by {name}", score, groups[:TABLE_ROWS]),
    )


def scatter(view: View, x_place: int, y_place: int, *, wide: bool = False) -> Figure:
    """Two scores against each other, with Spearman's correlation; bins where not all rows are in the page."""
    alt = require("report", "altair", "report")
    a, b = view.scores[x_place], view.scores[y_place]
    x_axis, y_axis = of_score(a), of_score(b)
    rho = spearman(a.values, b.values)
    x, y = alt.X("x:Q", **x_axis.encoding()), alt.Y("y:Q", **y_axis.encoding(**ABOVE))
    keys = f"c{x_place}", f"c{y_place}"
    place = {"x": x_axis.clamp(keys[0]), "y": y_axis.clamp(keys[1])}
    cells: dict[str, list[dict[str, Any]]] = {}
    if view.whole:
        odd = alt.condition("datum.odd", alt.value("var(--accent)"), alt.value("var(--mark)"))
        drawn = (
            alt.Chart(alt.NamedData(name="samples"))
            .transform_calculate(**place)
            .mark_point(filled=True, opacity=0.75, cursor="pointer")
            .encode(
                x=x,
                y=y,
                fill=odd,
                shape=alt.condition("datum.odd", alt.value("diamond"), alt.value("circle")),
                size=alt.condition("datum.odd", alt.value(62), alt.value(26)),
                order=alt.Order("odd:Q"),
                tooltip=[
                    alt.Tooltip("name:N", title="Sample"),
                    alt.Tooltip(f"t{x_place}:N", title=a.title),
                    alt.Tooltip(f"t{y_place}:N", title=b.title),
                    alt.Tooltip("labels:N", title="Label"),
                ],
            )
            .add_params(alt.selection_interval(name="brush", mark=alt.BrushConfig(
                fill="var(--accent)", fillOpacity=0.1, stroke="var(--accent)")))
        )  # fmt: skip
    else:
        drawn, cells = _binned(x_axis, a.values, y_axis, b.values)
        drawn = drawn.encode(x=x, y=y)
    chart = alt.layer(
        drawn,
        alt.Chart(alt.NamedData(name="selected"))
        .transform_calculate(**place)
        .mark_point(filled=False, stroke="var(--ink)", strokeWidth=2, size=200, opacity=1)
        .encode(x="x:Q", y="y:Q"),
    ).properties(width="container", height=420 if wide else 340)
    order = np.argsort(-a.values, kind="stable")[:TABLE_ROWS]
    return Figure(
        id=f"scatter-{x_place}-{y_place}",
        title=f"{b.title} against {a.words}",
        kind="diagnostic",
        alt=f"Scatter of {b.titled} over {a.titled} for {count(len(view))} samples. Spearman {number(rho)}.",
        caption=f"Spearman {number(rho)} over {count(len(view))} samples. {x_axis.note or y_axis.note}".strip(),
        spec=specification(chart, samples=[], selected=[], **cells),
        table=Table(
            caption=f"The {len(order)} samples with the largest {a.words}",
            header=("Sample", a.titled, b.titled),
            rows=tuple((view.ids[i], number(a.values[i]), number(b.values[i])) for i in order),
        ),
        brush=keys if view.whole else None,
        wide=wide,
    )


def quantiles(caption: str, score: Score, groups: Sequence[tuple[str, np.ndarray]]) -> Table:
    """Quartiles, the largest value and the share in the total of each group."""
    total = float(np.abs(score.values).sum())
    rows = []
    for name, positions in groups:
        values = score.values[positions]
        low, middle, high = _quartiles(values)
        share = 100 * float(np.abs(values).sum()) / total if total else 0.0
        of_total = f"{share:.1f} %" if np.isfinite(share) else "not finite"
        rows.append((name, f"{count(len(values))} ({percent(len(values), len(score.values))})", number(low),
                     number(middle), number(high), number(values.max(initial=-np.inf)), of_total))  # fmt: skip
    unit = {"1": "", "nats^2": ", nats²"}.get(score.unit, f", {score.unit}")
    header = ("Group", "Samples", f"25 %{unit}", f"Median{unit}", f"75 %{unit}", f"Largest{unit}", "Of the total")
    return Table(caption=caption, header=header, rows=tuple(rows))


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """25th, 50th and 75th percentile; between a number and infinity lies infinity."""
    with np.errstate(invalid="ignore"):
        found = np.percentile(values, [25, 50, 75])
    low, middle, high = np.where(np.isnan(found), np.inf, found).tolist()
    return low, middle, high


def _binned(x_axis: Axis, xs: np.ndarray, y_axis: Axis, ys: np.ndarray) -> tuple[Any, dict[str, list[dict[str, Any]]]]:
    """Counts of samples in a grid of bins, darker where there are more."""
    alt = require("report", "altair", "report")
    x_edges, y_edges = x_axis.edges(60), y_axis.edges(40)
    counts = np.histogram2d(x_axis.clip(xs), y_axis.clip(ys), (x_edges, y_edges))[0]
    cells = [
        {"x": significant(x_edges[i]), "x2": significant(x_edges[i + 1]), "y": significant(y_edges[j]),
         "y2": significant(y_edges[j + 1]), "n": int(counts[i, j])}
        for i, j in np.argwhere(counts)
    ]  # fmt: skip
    shade = alt.Opacity("n:Q", scale=alt.Scale(type="log", range=[0.15, 1], domain=[1, max(2, int(counts.max()))]))
    chart = (
        alt.Chart(alt.NamedData(name="cells"))
        .mark_rect(fill="var(--ink)")
        .encode(x2="x2:Q", y2="y2:Q", opacity=shade, tooltip=[alt.Tooltip("n:Q", title="Samples", format=",")])
    )
    return chart, {"cells": cells}


def _class_rows(view: View, score: Score) -> list[tuple[str, np.ndarray, str]]:
    """Name, positions and color of each row of a distribution: all samples, then the classes, then the others."""
    rows = [("all", np.arange(len(view)), "var(--mark)")]
    if not view.classes:
        return rows
    members = [np.flatnonzero(view.code == c) for c in range(len(view.classes))]
    shown = range(len(view.classes))
    if len(view.classes) > MAX_CLASSES:
        medians = [float(np.median(score.values[rows])) for rows in members]
        shown = sorted(sorted(shown, key=lambda c: -medians[c])[: MAX_CLASSES - 1])  # type: ignore[assignment]  # a list where range was
    rows += [(view.classes[c], members[c], theme.CLASSES[c % len(theme.CLASSES)]) for c in shown]
    others = sorted(set(range(len(view.classes))) - set(shown))
    if others:
        rows.append((f"{len(others)} others", np.concatenate([members[c] for c in others]), "var(--mark)"))
    return rows


def _row_of_class(view: View, groups: list[tuple[str, np.ndarray, str]]) -> list[int]:
    """The height of the row on which a sample of each class is marked."""
    found = [0] * len(view.classes or ("",))
    for row, (_, positions, _) in enumerate(groups[1:] or groups, start=min(1, len(groups) - 1)):
        for c in np.unique(view.code[positions]):
            found[c] = len(groups) - 1 - row
    return found


def _groups_in_words(view: View, groups: list[tuple[str, np.ndarray, str]]) -> str:
    everyone = f"all {count(len(view))} samples"
    return f"{everyone} and each of {len(groups) - 1} classes" if view.classes else everyone


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"


def specification(chart: Any, **datasets: list[dict[str, Any]]) -> dict[str, Any]:
    """The chart as Vega-Lite with its data, without configuration: the page holds that once."""
    spec = chart.to_dict()
    for key in ("config", "$schema"):
        spec.pop(key, None)
    return {**spec, "datasets": datasets}
