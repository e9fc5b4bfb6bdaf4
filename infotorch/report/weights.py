"""The chapter of the information in the weights; needs the note "weights"."""

import math
from collections.abc import Mapping
from typing import Any

from infotorch.errors import require
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.lines import drawn_names, line_names, room
from infotorch.report.numbers import bits, count, number, quantity
from infotorch.report.plots import ABOVE, specification
from infotorch.report.view import View

__all__ = ["weights"]

ROW = 34
"""Height of a row, in pixels."""
SHARED = {"nats": "the information", "d_eff": "the directions held", "trace": "the trace of the Fisher information"}
FAR = 2.0
"""From this ratio of the measured rise to the predicted one on, the quadratic model is said not to hold, where the run
does not say whether it does."""


def weights(view: View) -> Chapter | None:
    """The trade-off over beta, the share of each layer, and the rise of the loss as predicted and as measured."""
    note = view.notes.get("weights")
    if not note:
        return None
    figures = [_curve(note), *([] if note["measured_rise"] is None else [_rise(note)]), _layers(note)]
    error = "" if note["stderr"] is None else f" ± {number(note['stderr'], 1)}"
    return Chapter(
        id="weights",
        title="Information in the weights",
        says=f"{number(note['nats'])}{error} nats ({bits(note['nats'], 'nats')}, {note['kind']}), "
        f"{number(note['nats'] / note['num_samples'])} a sample, would describe these {count(note['num_weights'])} "
        f"weights beside a normal prior of variance {_prior(note)}, to the precision that the loss asks for at "
        f"β = {number(note['beta'])}: {_directions(note['d_eff'])} are held. {_trusted(note)}",
        figures=tuple(figures),
        does_not_say="It is a number of this minimum and its quadratic model, this prior and this family of noise; it "
        "is no bound on the error on new data, and no length of a code of the labels.",
    )


def _prior(note: Mapping[str, Any]) -> str:
    value = note["prior_var"]
    chosen = {"evidence": " (chosen by the evidence)", "grid": " (chosen from a grid, which is paid for)"}
    said = "of each layer its own" if isinstance(value, Mapping) else number(value)
    return said + chosen.get(note.get("prior", ""), "")


def _directions(d_eff: float) -> str:
    return "about one direction" if round(d_eff) == 1 else f"about {number(d_eff)} directions"


def _trusted(note: Mapping[str, Any]) -> str:
    N, predicted = note["num_samples"], note["predicted_rise"]
    text = f"The noise is predicted to raise the loss by {number(predicted / N)} nats a sample"
    if note["measured_rise"] is None:
        return f"{text}; nobody measured it."
    measured = note["measured_rise"]
    text += f"; drawn {count(note['draws'])} times it rose by {number(measured / N)} (diagnostic)."
    holds = note.get("quadratic_holds", measured <= FAR * predicted)  # runs of before don't have it
    if holds is None:
        text += " The draws are too few to tell whether the quadratic model holds."
    elif not holds:
        text += " The quadratic model does not hold at this distance: a smaller prior variance keeps to where it does."
    return text


def _curve(note: Mapping[str, Any]) -> Figure:
    curve = note["curve"]
    lines = {"information, nats": ("nats", "var(--accent)"), "directions held": ("d_eff", "var(--class-4)")}
    rows = [
        {"beta": beta, "y": math.log10(1 + max(0.0, value)), "line": line, "color": color, "shown": number(value)}
        for line, (key, color) in lines.items()
        for beta, value in zip(curve["beta"], curve[key], strict=True)
    ]
    ends = [f"{number(curve[key][0])} to {number(curve[key][-1])} {line}" for line, (key, _) in lines.items()]
    between = f"β = {number(curve['beta'][0])} to {number(curve['beta'][-1])}"
    return Figure(
        id="weights-curve",
        title="Information over the price of precision",
        kind=note["kind"],
        alt=f"Lines over {between}: {'; '.join(ends)}. Marked: β = {number(note['beta'])}.",
        caption=f"At {between}: {'; '.join(ends)}. Marked: the β of this run. Curvature: {_curvature(note)}.",
        spec=_curve_spec(rows, note),
        table=Table(
            caption="Over β",
            header=("β", "Nats", "Log-determinant", "Directions held"),
            rows=tuple(
                tuple(map(number, row))
                for row in zip(curve["beta"], curve["nats"], curve["logdet"], curve["d_eff"], strict=True)
            ),
        ),
    )


def _curvature(note: Mapping[str, Any]) -> str:
    names = {"gram": "all of it, from inner products of gradients", "dense": "all of it", "kfac": "Kronecker factors",
             "diag": "its diagonal", "filter": "its diagonal, one number a filter", "block": "a block a parameter",
             "slq": "all of it, by stochastic Lanczos"}  # fmt: skip
    return f"{note['curvature']}, {names.get(note['estimator'], note['estimator'])}"


def _curve_spec(rows: list[dict[str, Any]], note: Mapping[str, Any]) -> dict[str, Any]:
    alt = require("report", "altair", "report")
    marks = [{"beta": note["beta"], "word": "β of the run"}]
    places = [row["beta"] for row in (*rows, *marks)]
    left, right = min(places), max(places)
    high = max(row["y"] for row in rows) or 1.0
    names = line_names(rows, "beta", height=high)
    stretch = max(right / left, 1.1) ** room(name["line"] for name in names)
    scale = alt.Scale(type="log", domain=[left, right * stretch], nice=False)
    powers = [10.0**k for k in range(math.ceil(math.log10(left) - 1e-9), math.floor(math.log10(right) + 1e-9) + 1)]
    ticked = {"values": powers} if len(powers) > 1 else {"tickCount": 5}
    x = alt.X("beta:Q", title="β", scale=scale, axis=alt.Axis(format="~g", labelOverlap="greedy", **ticked))
    ticks = [math.log10(1 + value) for value in (0, *(10.0**k for k in range(math.ceil(high) + 1)))]
    axis = alt.Axis(values=ticks, labelExpr="format(round(pow(10, datum.value) - 1), '~s')", **ABOVE)
    top = max([high, *(name["y"] for name in names)])
    y = alt.Y("y:Q", title="Nats; directions", axis=axis, scale=alt.Scale(domain=[0, 1.04 * top], nice=False))
    stroke, fill = alt.Stroke("color:N", scale=None), alt.Fill("color:N", scale=None)
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=x,
        y=y,
        detail="line:N",
        tooltip=[alt.Tooltip("line:N", title="What"), alt.Tooltip("beta:Q", title="β", format="~g"),
                 alt.Tooltip("shown:N", title="Value")],
    )  # fmt: skip
    ruled = alt.Chart(alt.NamedData(name="marks")).encode(x=x)
    layers = [
        ruled.mark_rule(stroke="var(--ink-2)", strokeDash=[2, 3], strokeWidth=1),
        ruled.mark_text(align="left", dx=5, baseline="bottom", fill="var(--ink-2)").encode(
            y=alt.value(alt.expr("height - 4")), text="word:N"
        ),
        base.mark_line(strokeWidth=2).encode(stroke=stroke),
        base.mark_point(filled=True, opacity=1, size=40).encode(fill=fill),
        drawn_names(x, y),
    ]
    chart = alt.layer(*layers).properties(width="container", height=320)
    return specification(chart, rows=rows, marks=marks, names=names)


def _rise(note: Mapping[str, Any]) -> Figure:
    N = note["num_samples"]
    values = {"predicted": note["predicted_rise"] / N, "measured": note["measured_rise"] / N}
    rows = [
        {"row": name, "value": value, "word": quantity(value, "nats"), "end": max(value, 0.0)}
        for name, value in values.items()
    ]
    risk = note.get("measured_risk")
    told = "" if risk is None else f" With the noise {number(100 * risk)} % of the labels are missed."
    return Figure(
        id="weights-rise",
        title="Rise of the loss under the noise, a sample",
        kind="diagnostic",
        alt=f"Two bars: predicted {rows[0]['word']}, measured {rows[1]['word']}.",
        caption=f"Predicted by the quadratic model, and measured in {count(note['draws'])} draws.{told}",
        spec=specification(_bars(rows, "Nats a sample"), rows=rows),
        table=Table(
            caption="Rise of the loss under the noise",
            header=("", "A sample", "In all"),
            rows=tuple((name, quantity(value, "nats"), quantity(N * value, "nats")) for name, value in values.items()),
        ),
    )


def _layers(note: Mapping[str, Any]) -> Figure:
    shares, traces = note["per_layer"], note["trace"]["per_layer"]
    total = sum(shares.values()) or 1.0
    rows = [
        {"row": name or "(model)", "value": 100 * share / total, "end": max(100 * share / total, 0.0),
         "word": f"{number(100 * share / total)} %"}
        for name, share in shares.items()
    ]  # fmt: skip
    largest = max(rows, key=lambda row: row["value"])
    what = note["per_layer_of"]
    return Figure(
        id="weights-layers",
        title="Where it is",
        kind="diagnostic" if what != "nats" else note["kind"],
        alt=f"Bars by layer, in the order of the forward. Largest: {largest['row']}, {largest['word']}.",
        caption=f"Share of {SHARED[what]} by layer.",
        spec=specification(_bars(rows, "%"), rows=rows),
        table=Table(
            caption="By layer",
            header=("Layer", "Share", "Trace of the Fisher information"),
            rows=tuple(
                (row["row"], row["word"], number(traces[name]) if name in traces else "n/a")
                for name, row in zip(shares, rows, strict=True)
            ),
        ),
    )


def _bars(rows: list[dict[str, Any]], title: str) -> Any:
    alt = require("report", "altair", "report")
    low, high = min(0.0, *(row["value"] for row in rows)), max(row["end"] for row in rows) or 1.0
    beside = room(row["word"] for row in rows)
    scale = alt.Scale(domain=[1.04 * low, high + beside * (high - low)], nice=False)
    y = alt.Y("row:N", sort=[row["row"] for row in rows], title=None, axis=alt.Axis(grid=False, labelLimit=150))
    x = alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    tooltip = [alt.Tooltip("row:N", title="Of"), alt.Tooltip("word:N", title="Value")]
    base = alt.Chart(alt.NamedData(name="rows")).encode(y=y, tooltip=tooltip)
    layers = [
        base.mark_bar(fill="var(--mark)", size=14).encode(x=x),
        base.mark_text(align="left", dx=8, fill="var(--ink)").encode(x="end:Q", text="word:N"),
    ]
    return alt.layer(*layers).properties(width="container", height=max(70, ROW * len(rows)))
