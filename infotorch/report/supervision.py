"""How hard targets are for a student: the chapter, and curves along a training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from infotorch.errors import DataError, check_choice, require
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.lines import drawn_names, line_names, room
from infotorch.report.numbers import count, number
from infotorch.report.plots import ABOVE, specification
from infotorch.report.theme import CLASSES
from infotorch.report.view import View

__all__ = ["complexity", "described", "fidelity", "similarity", "supervision", "told"]

WHERE = "report"
MEANS = (
    "How far the network’s weights would have to move, as its kernel sees it, to fit targets beyond what it says "
    "already: large where the targets are of directions that it learns last."
)
MEASURES = {
    "unit_adjusted": ("Supervision complexity, adjusted for the scales of kernel and targets", "Adjusted complexity"),
    "adjusted": ("Supervision complexity, adjusted for the scale of the kernel", "Adjusted complexity"),
    "complexity": ("Supervision complexity", "Complexity"),
    "quad": ("Squared supervision complexity", "Squared complexity"),
    "alignment": ("Kernel-target alignment", "Alignment"),
}
"""The title of a measure's chart, and that of its axis."""


def supervision(view: View) -> Chapter | None:
    """Complexity of targets along a training, and what became of the student; needs the note "supervision".

    The note, or each of several, has ``complexity``, rows of a ``SupervisionTrace`` or of
    :func:`infotorch.pipeline.complexity_along`. It may have the rows of :func:`similarity` and :func:`fidelity` by
    these names; and ``name`` and ``settings`` of a table that ``infotorch complexity --out`` has left.
    """
    note = view.notes.get("supervision")
    if not note:
        return None
    notes = note if isinstance(note, list) else [note]
    drawn = {"similarity": similarity, "fidelity": fidelity}
    figures = []
    for place, each in enumerate(notes):
        own = [complexity(each["complexity"], name=each.get("name", ""))]
        own += [draw(each[name]) for name, draw in drawn.items() if each.get(name)]
        figures += [replace(figure, id=f"{figure.id}-{place}") for figure in own] if place else own
    return Chapter(
        id="supervision",
        title="Supervision complexity",
        says=" ".join([MEANS, *(text for each in notes if (text := told(each)))]),
        figures=tuple(figures),
        does_not_say="It is a number of the samples named here, which need not be those of this page’s scores, and of "
        "the kernel at each step, which training changes; only of a kernel that was chosen without the samples does it "
        "bound an error.",
    )


def told(note: Mapping[str, Any]) -> str:
    """Of what the numbers are, and what the targets' complexity is at the last step, the easiest first."""
    rows, settings = note["complexity"], note.get("settings") or {}
    last = max(row["step"] for row in rows)
    known = [(row["unit_adjusted"], str(row["target"])) for row in rows if row["step"] == last]
    found = sorted((value, name) for value, name in known if value is not None and math.isfinite(value))
    of = f"{note['name']}: {described(settings)}. " if settings else ""
    if not found:
        return of.strip()
    said = ", ".join(f"{name} {number(value)}" for value, name in found)
    return f"{of}At step {count(last)}, adjusted for the scales of kernel and targets: {said} (diagnostic)."


def described(settings: Mapping[str, Any]) -> str:
    """The settings of a table of :func:`infotorch.pipeline.complexity_along` in words."""
    data, ridge = settings.get("data") or {}, settings.get("ridge")
    kernels = {"full": "the kernel of all outputs", "avg": "the mean kernel over outputs, an approximation"}
    compared = "nothing" if settings["f0"] == "zero" else f"the network’s probabilities at τ = {settings['tau']:g}"
    if settings["f0"] not in ("zero", "student"):
        compared = "outputs that were given"
    parts = [f"{count(data['num_samples'])} samples"] if "num_samples" in data else []
    parts += [kernels[settings["kernel"]] + (", of probabilities" if settings["output"] == "probs" else "")]
    parts += [f"ridge {ridge:g}" if ridge is not None else f"ridge {settings['ridge_rel']:g} of the mean diagonal"]
    return "; ".join([*parts, f"targets less {compared}"])


def complexity(rows: Sequence[Mapping[str, Any]], measure: str = "unit_adjusted", *, name: str = "") -> Figure:
    """Complexity of each target (labels, an offline teacher, an online one) over a student's training steps.

    Args:
        rows: Those of :func:`infotorch.pipeline.complexity_along` or of a ``SupervisionTrace``: step, target and the
            measure; of one ridge a step. Rows without a number are left out.
        measure: ``"unit_adjusted"``, ``"adjusted"``, ``"complexity"``, ``"quad"`` or ``"alignment"``.
        name: Of the table, where there are several.

    Raises:
        ConfigError: The measure is none of these.
        DataError: No row has a number.
    """
    check_choice(WHERE, "measure", measure, MEASURES)
    points = [(row["step"], str(row["target"]), row[measure]) for row in rows]
    title, axis = MEASURES[measure]
    title = f"{title}: {name}" if name else title
    says = "Where it is large, the target is hard for the student."
    return _curves(f"complexity-{measure}", title, axis, points, says)


def similarity(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Centred alignment of the student's kernel with its teacher's over training steps.

    Args:
        rows: ``step``, ``similarity`` of :func:`infotorch.ntk_similarity`, and ``line``, the name of the training.

    Raises:
        DataError: No row has a number.
    """
    points = [(row["step"], str(row["line"]), row["similarity"]) for row in rows]
    title = "Similarity of student’s and teacher’s kernel"
    return _curves("ntk-similarity", title, "Similarity", points, "1: multiples of another.")


def fidelity(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of test samples on which student and teacher predict the same class, over training steps.

    Args:
        rows: ``step``, ``fidelity``, and ``line``, the name of the training.

    Raises:
        DataError: No row has a number.
    """
    points = [(row["step"], str(row["line"]), row["fidelity"]) for row in rows]
    title = "Agreement of student and teacher"
    return _curves("distillation-fidelity", title, "Agreement", points, "Share of equal predictions.")


def _curves(
    id: str, title: str, measured: str, points: Sequence[tuple[int, str, float | None]], caption: str
) -> Figure:
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
    axis = alt.Axis(values=steps, format=",d", labelOverlap="greedy", labelSeparation=10)
    x = alt.X("step:Q", title="Step", scale=alt.Scale(domain=[first, first + wide], nice=False), axis=axis)
    y = alt.Y("y:Q", title=measured, scale=alt.Scale(domain=[low, high], nice=False), axis=alt.Axis(**ABOVE))
    tooltip = [alt.Tooltip("line:N", title="Line"), alt.Tooltip("step:Q", title="Step", format=",d"),
               alt.Tooltip("shown:N", title="Value")]  # fmt: skip
    base = alt.Chart(alt.NamedData(name="rows")).encode(x=x, y=y, detail="line:N", tooltip=tooltip)
    chart = alt.layer(
        base.mark_line(strokeWidth=2).encode(stroke=alt.Stroke("color:N", scale=None)),
        base.mark_point(filled=True, opacity=1, size=40).encode(fill=alt.Fill("color:N", scale=None)),
        drawn_names(x, y),
    ).properties(width="container", height=320)
    ends = {line: [row for row in rows if row["line"] == line] for line in lines}
    words = "; ".join(f"{line} {found[0]['shown']} to {found[-1]['shown']}" for line, found in ends.items())
    cells = {(row["line"], row["step"]): row["shown"] for row in rows}
    return Figure(
        id=id,
        title=title,
        kind="diagnostic",
        alt=f"{title} over steps {count(first)} to {count(last)}: {words}.",
        caption=f"{caption} First to last: {words}.",
        spec=specification(chart, rows=rows, names=names),
        table=Table(
            caption=f"{title} by step",
            header=("Step", *lines),
            rows=tuple((count(step), *(cells.get((line, step), "") for line in lines)) for step in steps),
        ),
    )
