"""The chapter of a LIMIT training: accuracy along it, nats passed on, and given against predicted labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infotorch.errors import require
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.lines import ROOM, drawn_names, line_names
from infotorch.report.numbers import bits, count, number, percent, quantity
from infotorch.report.plots import ABOVE, specification
from infotorch.report.view import View

__all__ = ["limit"]

LINES = {"test_acc": ("test", 0), "val_acc": ("validation", 4), "acc_train": ("training", 2)}
"""What accuracy is measured on, and the color of its line among the classes'."""
MOST_CLASSES = 40
"""Beyond so many the squares of the confusion are too small to see."""


def limit(view: View) -> Chapter | None:
    """Needs the note "limit"."""
    note = view.notes.get("limit")
    if not note:
        return None
    figures = [_accuracies(note), _nats(note), _confusion(view, note)]
    return Chapter(
        id="limit",
        title="Training without memorising",
        says=_says(note),
        figures=tuple(figure for figure in figures if figure is not None),
        does_not_say="It does not say that the network holds no information of its labels: they pass through the "
        "auxiliary network, and one that memorises passes the noise on. Accuracy on noisy labels can't exceed what the "
        "noise leaves, and a small validation set doesn't tell close settings apart.",
    )


def _says(note: Mapping[str, Any]) -> str:
    counts, found, plain = note["memorised"], note["detection"], note["compared"]
    parts = [
        f"Trained on {count(note['num_train'])} labels"
        + {"none": "", "labels": ", some of them known to be wrong"}.get(
            note["noise"], f" under the noise “{note['noise']}”"
        )
        + ": the classifier gets predicted gradients in place of those made from labels."
    ]
    if counts["count"] is not None and counts["mislabelled"]:
        share = percent(counts["count"], counts["mislabelled"])
        text = f"It repeats {count(counts['count'])} of {count(counts['mislabelled'])} wrong labels ({share})"
        if plain is not None:
            of = plain["memorised"]
            text += f", plain cross-entropy {count(of['count'])} ({percent(of['count'], of['mislabelled'])})"
        parts.append(text + f"; of {count(counts['recovered'])} it predicts the right class (diagnostic).")
    if found is not None and found["auroc"] is not None:
        parts.append(
            f"The label score ranks a wrong label above a right one with chance {number(found['auroc'])} (AUROC); of "
            f"the {count(found['num_wrong'])} labels with the largest score {number(100 * found['precision'])} % are "
            "wrong (diagnostics)."
        )
    named = {estimate["name"]: estimate["value"] for estimate in note["estimates"]}
    error = f"On the given labels its error is {number(100 * (1 - note['acc_noisy_labels']))} %"
    if note["fano"] is not None:
        fano = note["fano"]
        error += (
            f"; without information of the labels it would be at least {number(100 * fano['min_error'])} % (bound, in "
            f"expectation), so its weights hold at least {quantity(fano['info_lower'], 'nats')} a label (estimate)"
        )
    parts.append(error + ".")
    gap = named.get("label information memorised by the auxiliary network")
    if gap is not None:
        parts.append(f"The auxiliary network has memorised about {quantity(gap, 'nats')} of its labels (estimate).")
    return " ".join(parts)


def _accuracies(note: Mapping[str, Any]) -> Figure:
    rows: list[dict[str, Any]] = []
    trainings = [("", note["history"])]
    if note["compared"] is not None:
        trainings.append(("CE ", note["compared"]["history"]))
    for prefix, history in trainings:
        for key, (name, color) in LINES.items():
            rows += [
                {"epoch": entry["epoch"] + 1, "y": 100 * entry[key], "line": prefix + name, "plain": bool(prefix),
                 "color": f"var(--class-{color})", "shown": f"{100 * entry[key]:.1f} %"}
                for entry in history
                if entry.get(key) is not None
            ]  # fmt: skip
    last = {row["line"]: row["shown"] for row in rows}
    table: dict[int, dict[str, str]] = {}
    for row in rows:
        table.setdefault(row["epoch"], {})[row["line"]] = row["shown"]
    said = "; ".join(f"{line} {shown}" for line, shown in last.items())
    dashed = " Dashed: plain cross-entropy (CE)." if note["compared"] is not None else ""
    return Figure(
        id="limit-accuracy",
        title="Accuracy over training",
        kind="diagnostic",
        alt=f"Lines of accuracy over epochs. At the last: {said}.",
        caption=f"At the last epoch: {said}. Training and validation are on the given labels.{dashed}",
        spec=specification(_lines("Accuracy (%)", rows), rows=rows, names=line_names(rows, "epoch")),
        table=Table(
            caption="Accuracy by epoch",
            header=("Epoch", *last),
            rows=tuple((str(epoch), *(found.get(line, "") for line in last)) for epoch, found in sorted(table.items())),
        ),
        wide=True,
    )


def _nats(note: Mapping[str, Any]) -> Figure | None:
    history = [entry for entry in note["history"] if entry["nats"] is not None and np.isfinite(entry["nats"])]
    if not history:
        return None
    what = history[-1]["nats_of"]
    rows = [
        {"epoch": entry["epoch"] + 1, "y": entry["nats"], "line": what, "color": "var(--accent)", "plain": False,
         "shown": f"{quantity(entry['nats'], 'nats')} ({bits(entry['nats'], 'nats')})"}
        for entry in history
    ]  # fmt: skip
    meaning = {
        "at most in the weights": "Label information in the weights is at most this.",
        "passed on": "What the noisy predicted gradients carried; the predictor is trained, so it bounds nothing.",
        "nll of gradients": "Cross-entropy of label gradients under the predictor; a density, so it may be negative.",
    }[what]
    return Figure(
        id="limit-nats",
        title=f"Nats over training: {what}",
        kind="bound" if what == "at most in the weights" else "diagnostic",
        alt=f"Line of nats ({what}) over epochs, {quantity(history[-1]['nats'], 'nats')} at the last.",
        caption=f"{meaning} At the last epoch {quantity(history[-1]['nats'], 'nats')}.",
        spec=specification(_lines("Nats", rows), rows=rows),
        table=Table(
            caption="Nats by epoch",
            header=("Epoch", what),
            rows=tuple((str(row["epoch"]), str(row["shown"])) for row in rows),
        ),
    )


def _lines(title: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A line for each value of ``line``, with its name where there are several."""
    alt = require("report", "altair", "report")
    last = max(2, *(row["epoch"] for row in rows))
    room = ROOM if len({row["line"] for row in rows}) > 1 else 0
    scale = alt.Scale(domain=[1, last + room * (last - 1)], nice=False)
    ticks = sorted({1, *(round(1 + k * (last - 1) / 5) for k in range(1, 6))})
    x = alt.X("epoch:Q", title="Epoch", scale=scale, axis=alt.Axis(values=ticks, format="d"))
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(**ABOVE))
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=x,
        y=y,
        detail="line:N",
        stroke=alt.Stroke("color:N", scale=None),
        tooltip=[alt.Tooltip("line:N", title="Of"), alt.Tooltip("epoch:Q", title="Epoch"),
                 alt.Tooltip("shown:N", title=title)],
    )  # fmt: skip
    dash = alt.condition("datum.plain", alt.value([5, 4]), alt.value([1, 0]))
    layers = [
        base.mark_line(strokeWidth=2).encode(strokeDash=dash),
        base.mark_point(filled=True, opacity=1, size=10).encode(fill=alt.Fill("color:N", scale=None)),
    ]
    if room:
        layers.append(drawn_names(x, y))
    return alt.layer(*layers).properties(width="container", height=300)


def _confusion(view: View, note: Mapping[str, Any]) -> Figure | None:
    alt = require("report", "altair", "report")
    if note["confusion"] is None:
        return None
    counts = np.asarray(note["confusion"])
    C = len(counts)
    listed = view.manifest.get("data", {}).get("label_names")
    names = [str(name) for name in listed] if listed and len(listed) >= C else [str(c) for c in range(C)]
    of_row = np.maximum(counts.sum(1, keepdims=True), 1)
    shown = np.argwhere(counts) if C <= MOST_CLASSES else np.empty((0, 2), int)
    rows = [
        {"given": int(i), "predicted": int(j), "share": float(counts[i, j] / of_row[i, 0]), "n": int(counts[i, j]),
         "labels": f"{names[i]} → {names[j]}", "percent": percent(int(counts[i, j]), int(of_row[i, 0]))}
        for i, j in shown
    ]  # fmt: skip
    off = [(int(counts[i, j]), int(i), int(j)) for i, j in np.argwhere(counts) if i != j]
    off.sort(key=lambda cell: (-cell[0], *cell[1:]))
    agree = int(np.trace(counts))
    tooltip = [
        alt.Tooltip("labels:N", title="Given → predicted"),
        alt.Tooltip("n:Q", title="Samples", format=","),
        alt.Tooltip("percent:N", title="Of the given label"),
    ]
    axis = {"labelExpr": "names[datum.value]", "grid": False, "labelLimit": 90}
    chart = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_rect(fill="var(--ink)")
        .encode(
            x=alt.X("predicted:O", title="Predicted", axis=alt.Axis(labelAngle=0 if C <= 12 else -90, **axis)),
            y=alt.Y("given:O", title="Given", axis=alt.Axis(**axis, **ABOVE)),
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1])),
            tooltip=tooltip,
        )
        .properties(width="container", height=max(200, min(420, 26 * C)))
        .add_params(alt.param(name="names", value=names))
    )  # fmt: skip
    total = int(counts.sum())
    caption = f"{count(agree)} of {count(total)} labels ({percent(agree, total)}) are predicted as given. "
    caption += (
        "The darker, the larger the share of the given label." if rows else f"{count(C)} classes: too many to draw."
    )
    return Figure(
        id="limit-confusion",
        title="Given and predicted labels",
        kind="diagnostic",
        alt=f"Squares of given against predicted labels of {count(total)} training samples; {count(agree)} agree.",
        caption=caption,
        spec=specification(chart, rows=rows),
        table=Table(
            caption="The most frequent disagreements",
            header=("Given", "Predicted", "Samples"),
            rows=tuple((names[i], names[j], count(n)) for n, i, j in off[:50]),
        ),
    )  # fmt: skip
