"""Sketched scores against exact ones, by size of the sketch; needs the note "fidelity_curve"."""

from collections.abc import Mapping, Sequence
from typing import Any

from infotorch.errors import require
from infotorch.report.equality import equality, score_of
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.lines import drawn_names, line_names, room
from infotorch.report.numbers import count, directions, number
from infotorch.report.plots import ABOVE, specification
from infotorch.report.view import View, listed

__all__ = ["fidelity"]

COLORS = ("var(--accent)", "var(--class-4)")
"""Of the information in the weights and in the functions, or of the only one."""
WHATS = {"spearman": "Spearman", "pearson": "Pearson", "top_decile": "Highest tenth in common"}


def fidelity(view: View) -> Chapter | None:
    """The curve over k, and both scores of each sample at the run's k."""
    note = view.notes.get("fidelity_curve")
    if not note:
        return None
    n, pairs, seeds = count(note["num_samples"]), note["pairs"], len(note["seeds"])
    at = next(point for point in note["points"] if point["dim"] == pairs["dim"])
    told = listed([f"{_with_error(found['spearman'])} in the {_short(name)}" for name, found in at["columns"].items()])
    own = "the run’s own size" if at["dim"] == note["dim"] else f"the run has {count(note['dim'])}"
    of_all = note["effective_dimension"]
    subset = number(note["subset_dimension"])
    known = "" if of_all is None else f" Training on all samples uses {directions(of_all, note['dim'])}."
    score = score_of(view, pairs["column"])
    return Chapter(
        id="fidelity",
        title="Sketched against exact scores",
        says=f"{n} samples, spread over the data set and trained alone, were scored exactly and by sketches. With "
        f"{count(at['dim'])} numbers a gradient ({own}) the rank correlation is {told} (diagnostic, "
        f"{_draws(seeds)}).{known}",
        figures=(
            _curve(note),
            equality(
                view,
                score,
                pairs["index"],
                [("exact", pairs["exact"]), ("sketched", pairs["sketched"])],
                id="fidelity-scatter",
                alt=f"Scatter of {n} samples, exact score against that of one sketch, k = {count(at['dim'])}.",
                caption=f"One sketch of {count(at['dim'])} numbers, seed {pairs['seed']}. On the dashed line both are "
                "equal. Both are of a training on these samples alone, so they are not the run’s scores.",
            ),
        ),
        does_not_say=f"The curve is of a training on these samples alone, which uses about {subset} directions; it is "
        "not the agreement of the run’s own scores. Directions are counted in a sketch, and a small one shows fewer.",
    )


def _curve(note: Mapping[str, Any]) -> Figure:
    rows = [
        {"k": point["dim"], "y": found["spearman"]["mean"], "line": _short(name), "color": color,
         "shown": _with_error(found["spearman"]), "low": _end(found, -1), "high": _end(found, 1)}
        for point in note["points"]
        for (name, found), color in zip(point["columns"].items(), COLORS, strict=False) if found["spearman"]
    ]  # fmt: skip
    marks = [{"k": note["dim"], "word": "k of the run", "shown": count(note["dim"]), "top": True}]
    known = note["effective_dimension"]
    if known is not None:
        marks.append({"k": max(1.0, known), "word": "directions in use", "shown": number(known), "top": False})
    lines = list(dict.fromkeys(row["line"] for row in rows))
    ends = {line: [row for row in rows if row["line"] == line] for line in lines}
    told = "; ".join(f"{line} {found[0]['shown']} to {found[-1]['shown']}" for line, found in ends.items())
    sizes = [point["dim"] for point in note["points"]]
    between = f"k = {count(sizes[0])} to {count(sizes[-1])}" if len(sizes) > 1 else f"k = {count(sizes[0])}"
    strokes = f" Upright strokes: standard error of {_draws(len(note['seeds']))}." if len(note["seeds"]) > 1 else ""
    marked = listed([f"{mark['word']}: {mark['shown']}" for mark in marks])
    return Figure(
        id="fidelity-curve",
        title="Rank correlation over the size of the sketch",
        kind="diagnostic",
        alt=f"Spearman’s correlation of sketched with exact scores at {between}: {told}. Marked: {marked}.",
        caption=f"At {between}: {told}.{strokes} Marked: {marked}.",
        spec=_spec(rows, marks),
        table=_table(note),
    )


def _spec(rows: list[dict[str, Any]], marks: list[dict[str, Any]]) -> dict[str, Any]:
    alt = require("report", "altair", "report")
    low = min((row["low"] for row in rows), default=0.0)
    top = max(1.0, *(row["high"] for row in rows)) if rows else 1.0
    low -= 0.08 * (top - low)
    names = line_names(rows, "k", height=top - low)
    top = max([top, *(name["y"] for name in names)])
    places = [entry["k"] for entry in (*rows, *marks)]
    left, right = 0.9 * min(places), 1.1 * max(places)
    beside = room(name["line"] for name in names) if names else 0.0
    scale = alt.Scale(type="log", domain=[left, right * (right / left) ** beside], nice=False)
    ticks = sorted({row["k"] for row in rows})
    axis = alt.Axis(values=ticks, format=",d", labelOverlap="greedy")
    x = alt.X("k:Q", title="Numbers of the sketch (k)", scale=scale, axis=axis)
    height = alt.Scale(domain=[low, top], nice=False, zero=False)
    y = alt.Y("y:Q", title="Spearman with the exact scores", scale=height, axis=alt.Axis(**ABOVE))
    stroke, fill = alt.Stroke("color:N", scale=None), alt.Fill("color:N", scale=None)
    ruled = alt.Chart(alt.NamedData(name="marks")).encode(x=x)
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=x,
        y=y,
        detail="line:N",
        tooltip=[alt.Tooltip("line:N", title="Information in"), alt.Tooltip("k:Q", title="k", format=",d"),
                 alt.Tooltip("shown:N", title="Spearman")],
    )  # fmt: skip
    words = {"align": "left", "dx": 5, "fill": "var(--ink-2)"}
    layers = [
        ruled.mark_rule(stroke="var(--ink-2)", strokeDash=[2, 3], strokeWidth=1),
        ruled.transform_filter("datum.top").mark_text(baseline="bottom", **words).encode(
            y=alt.value(alt.expr("height - 20")), text="word:N"
        ),
        ruled.transform_filter("!datum.top").mark_text(baseline="bottom", **words).encode(
            y=alt.value(alt.expr("height - 4")), text="word:N"
        ),
        alt.Chart(alt.NamedData(name="rows")).mark_rule(strokeWidth=1.5, opacity=0.7)
        .encode(x=x, y="low:Q", y2="high:Q", stroke=stroke),
        base.mark_line(strokeWidth=2).encode(stroke=stroke),
        base.mark_point(filled=True, opacity=1, size=40).encode(fill=fill),
        drawn_names(x, "y:Q"),
    ]  # fmt: skip
    chart = alt.layer(*layers).properties(width="container", height=360)
    return specification(chart, rows=rows, marks=marks, names=names)


def _table(note: Mapping[str, Any]) -> Table:
    shown: list[Sequence[str]] = [
        (f"{count(point['dim'])}, {_short(name)}", *(_with_error(found[what]) for what in WHATS))
        for point in note["points"]
        for name, found in point["columns"].items()
    ]
    return Table(
        caption=f"Agreement with the exact scores, {_draws(len(note['seeds']))}",
        header=("k, information in", *WHATS.values()),
        rows=tuple(tuple(row) for row in shown),
    )


def _with_error(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "undefined"
    return number(found["mean"]) + ("" if found["stderr"] is None else f" ± {number(found['stderr'], 1)}")


def _end(found: Mapping[str, Any], sign: int) -> float:
    return float(found["spearman"]["mean"] + sign * (found["spearman"]["stderr"] or 0.0))


def _short(name: str) -> str:
    return name.removeprefix("unique_information_").replace("_", " ")


def _draws(seeds: int) -> str:
    return "one sketch" if seeds == 1 else f"{seeds} sketches"
