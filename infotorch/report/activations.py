"""The chapter of the information in the activations; needs the note "activations"."""

from collections.abc import Mapping
from typing import Any

from infotorch.errors import require
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.lines import room
from infotorch.report.numbers import count, number, quantity
from infotorch.report.plots import specification
from infotorch.report.theme import CLASSES
from infotorch.report.view import View

__all__ = ["activations"]

ROW = 34
"""Height of a row, in pixels."""


def activations(view: View) -> Chapter | None:
    """What each layer's output still tells of its input, and which changes of the input it does not see."""
    note = view.notes.get("activations")
    if not note:
        return None
    layers = note["layers"]
    first, last = layers[0], layers[-1]
    ends = [f"{quantity(layer['median'], 'nats')} at {layer['name']}" for layer in (first, last)]
    told = f"in the median from {ends[0]} to {ends[1]}" if len(layers) > 1 else f"a median of {ends[0]}"
    tangents = list(first["tangents"])
    noisy = note.get("noisy_loss")
    heard = "" if noisy is None else f" Under this noise the loss is {number(noisy)} a sample."
    figures = [_depth(note), *([_invariance(note, tangents)] if tangents else [])]
    return Chapter(
        id="activations",
        title="Information in the activations",
        says=f"With noise in the weights of the variance that the loss allows, a layer’s output tells "
        f"{told} of a jitter of the input of standard deviation {number(note['tau'])} (estimate, "
        f"{count(note['num_samples'])} samples).{heard}",
        figures=tuple(figures),
        does_not_say="It is the information of the linearized channel about small changes of the input, not about "
        "which input it was. Insensitivity is worth something only where the noisy network still predicts well.",
    )


def _depth(note: Mapping[str, Any]) -> Figure:
    rows: list[dict[str, Any]] = [
        {key: layer[key] for key in ("low", "q25", "median", "q75", "high")}
        | {"row": layer["name"], "shown": quantity(layer["median"], "nats"),
           "half": f"{number(layer['q25'])} to {quantity(layer['q75'], 'nats')}"}
        for layer in note["layers"]
    ]  # fmt: skip
    told = "; ".join(f"{row['row']} {row['shown']}" for row in rows)
    return Figure(
        id="activations-depth",
        title="Local information by depth",
        kind="estimate",
        alt=f"Medians and quartiles by layer, in the order of the forward: {told}.",
        caption="In the order of the forward. Tick: median over samples; bar: middle half; line: 10th to 90th "
        "percentile.",
        spec=specification(_ranges(rows), rows=rows),
        table=Table(
            caption="By layer",
            header=("Layer", "25 %", "Median, nats", "75 %", "Rank", "Outputs looked at", "Dropped"),
            rows=tuple(
                (layer["name"], number(layer["q25"]), number(layer["median"]), number(layer["q75"]),
                 number(layer["rank"]), f"{count(layer['rows'])} of {count(layer['width'])}", number(layer["dropped"]))
                for layer in note["layers"]
            ),
        ),
    )  # fmt: skip


def _invariance(note: Mapping[str, Any], tangents: list[str]) -> Figure:
    colors = dict(zip(tangents, (CLASSES[k] for k in (4, 2, 5, 6, 0, 1, 3)), strict=False))
    rows = [
        {"row": layer["name"], "x": layer["tangents"][name]["index"], "line": name, "color": colors[name],
         "shown": _index(layer, name)}
        for layer in note["layers"]
        for name in tangents
    ]  # fmt: skip
    last = note["layers"][-1]
    told = ", ".join(f"{name} {_index(last, name)}" for name in tangents)
    dead = list(dict.fromkeys(row["row"] for row in rows if row["x"] is None))
    gaps = f" A gap at {', '.join(dead)}: nothing of the input is told there, or the change is zero." if dead else ""
    return Figure(
        id="activations-invariance",
        title="What layers do not see",
        kind="diagnostic",
        alt=f"Invariance index by layer and change. At {last['name']}: {told}.",
        caption=f"Index of a change of the input: 0, not seen; 1, seen as much as any. At {last['name']}: {told}. "
        f"Mean over samples that have one.{gaps}",
        spec=specification(_dots(rows, [layer["name"] for layer in note["layers"]]), rows=rows),
        table=Table(
            caption="Invariance index and local information of a change",
            header=("Layer", *(f"{name}{what}" for name in tangents for what in (", index", ", nats"))),
            rows=tuple(
                (layer["name"],
                 *(told for name in tangents
                   for told in (_index(layer, name), number(layer["tangents"][name]["nats"]))))
                for layer in note["layers"]
            ),
        ),
    )  # fmt: skip


def _index(layer: Mapping[str, Any], name: str) -> str:
    """None where the layer tells nothing of the input: that is no invariance."""
    index = layer["tangents"][name]["index"]
    return "none" if index is None else number(index)


def _ranges(rows: list[dict[str, Any]]) -> Any:
    alt = require("report", "altair", "report")
    high = max(row["high"] for row in rows) or 1.0
    beside = room(row["shown"] for row in rows)
    scale = alt.Scale(domain=[0, high * (1 + beside)], nice=False)
    x = alt.X("low:Q", title="Nats", axis=alt.Axis(tickCount=5), scale=scale)
    y = alt.Y("row:N", sort=[row["row"] for row in rows], title=None, axis=alt.Axis(grid=False, labelLimit=150))
    tooltip = [alt.Tooltip("row:N", title="Layer"), alt.Tooltip("shown:N", title="Median"),
               alt.Tooltip("half:N", title="Middle half")]  # fmt: skip
    base = alt.Chart(alt.NamedData(name="rows")).encode(y=y, tooltip=tooltip)
    layers = [
        base.mark_rule(stroke="var(--ink-2)", strokeWidth=1).encode(x=x, x2="high:Q"),
        base.mark_rule(stroke="var(--mark)", strokeWidth=10).encode(x="q25:Q", x2="q75:Q"),
        base.mark_tick(color="var(--ink)", thickness=3, height=18, orient="vertical", opacity=1).encode(x="median:Q"),
        base.mark_text(align="left", dx=8, fill="var(--ink)").encode(x="high:Q", text="shown:N"),
    ]
    return alt.layer(*layers).properties(width="container", height=max(70, ROW * len(rows)))


def _dots(rows: list[dict[str, Any]], order: list[str]) -> Any:
    alt = require("report", "altair", "report")
    named = list({row["line"]: row for row in reversed(rows) if row["x"] is not None}.values())  # where each begins
    named.sort(key=lambda row: row["x"])
    for place, row in enumerate(named):  # names of points that are near each other go to both sides
        row["name"], row["side"] = row["line"], "right" if 2 * place + 1 < len(named) else "left"
    for row in rows:
        row["place"] = order.index(row["row"])
    high = max([1.0, *(row["x"] for row in rows if row["x"] is not None)])
    scale = alt.Scale(domain=[0, 1.04 * high], nice=False)
    x = alt.X("x:Q", title="Invariance index", axis=alt.Axis(tickCount=6), scale=scale)
    y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(grid=True, labelLimit=150))
    tooltip = [alt.Tooltip("row:N", title="Layer"), alt.Tooltip("line:N", title="Change"),
               alt.Tooltip("shown:N", title="Index")]  # fmt: skip
    base = alt.Chart(alt.NamedData(name="rows")).encode(y=y, tooltip=tooltip)
    layers = [
        alt.Chart(alt.NamedData(name="rows"))
        .mark_rule(stroke="var(--ink-2)", strokeDash=[2, 3])
        .encode(x=alt.datum(1)),
        base.mark_line(strokeWidth=1.5, opacity=0.6).encode(
            x=x, stroke=alt.Stroke("color:N", scale=None), detail="line:N", order=alt.Order("place:Q")
        ),
        base.mark_point(filled=True, opacity=1, size=60).encode(x=x, fill=alt.Fill("color:N", scale=None)),
        *(
            base.transform_filter(f"datum.side == '{side}'")
            .mark_text(dy=-12, align=side, fill="var(--ink)")
            .encode(x=x, text="name:N")
            for side in ("right", "left")
        ),
    ]
    return alt.layer(*layers).properties(width="container", height=max(110, 48 * len(order)))
