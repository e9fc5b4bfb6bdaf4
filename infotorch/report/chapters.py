"""Chapters that only some runs have. Each is a function from the run to a chapter, or None."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from infotorch.errors import require
from infotorch.report.axes import of_score
from infotorch.report.bounds import bounds
from infotorch.report.figure import Chapter, Figure, Table
from infotorch.report.limit import limit
from infotorch.report.numbers import count, number, quantity
from infotorch.report.plots import ABOVE, TABLE_ROWS, specification
from infotorch.report.view import View

__all__ = ["CHAPTERS", "chapters", "retraining"]


def retraining(view: View) -> Chapter | None:
    """How the scores agree with networks that were really trained without the sample; needs the note "retraining"."""
    note = view.notes.get("retraining")
    if not note:
        return None
    alt = require("report", "altair", "report")
    names = [score.name for score in view.scores]
    score = view.scores[names.index(note["column"]) if note.get("column") in names else view.main]
    scored, retrained = (np.asarray(note[key], np.float64) for key in ("linearized", "retrained"))
    both = dataclasses.replace(score, values=np.concatenate([scored, retrained]))
    axis = of_score(both)
    ids = {int(place): view.ids[row] for row, place in enumerate(view.index)}
    index = [int(i) for i in note.get("index", range(len(scored)))]
    rows: list[dict[str, Any]] = [
        {"x": float(x), "y": float(y), "index": i, "name": ids.get(i, str(i)),
         "scored": quantity(x, score.unit), "retrained": quantity(y, score.unit)}
        for i, x, y in zip(index, scored, retrained, strict=True)
    ]  # fmt: skip
    x = alt.X("x:Q", **dataclasses.replace(axis, title=f"{score.title}, scored").encoding())
    y = alt.Y("y:Q", **dataclasses.replace(axis, title="Retrained").encoding(**ABOVE))
    ends = [{"x": axis.low, "y": axis.low}, {"x": axis.high, "y": axis.high}]
    chart = alt.layer(
        alt.Chart(alt.NamedData(name="ends"))
        .mark_line(stroke="var(--ink-2)", strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=y),
        alt.Chart(alt.NamedData(name="rows"))
        .mark_point(filled=True, fill="var(--accent)", size=64, opacity=0.9, cursor="pointer")
        .encode(x="x:Q", y="y:Q", tooltip=["name:N", "scored:N", "retrained:N"]),
    ).properties(width="container", height=360)
    pearson, rank = number(note["pearson"]), number(note["spearman"])
    return Chapter(
        id="retraining",
        title="Agreement with true retraining",
        says=f"{note['what'][:1].upper()}{note['what'][1:]}. Over these {count(len(rows))}: Pearson {pearson}, "
        f"Spearman {rank} (diagnostic). On the dashed line the score equals what retraining gives.",
        figures=(
            Figure(
                id="retraining-scatter",
                title=f"{score.title}: scored and retrained",
                kind="diagnostic",
                alt=f"Scatter of {len(rows)} samples, score against true retraining. Pearson {pearson}.",
                caption=f"Pearson {pearson}, Spearman {rank}.",
                spec=specification(chart, ends=ends, rows=rows),
                table=Table(
                    caption="Scored and retrained",
                    header=("Sample", "Scored", "Retrained"),
                    rows=tuple((r["name"], r["scored"], r["retrained"]) for r in rows[:TABLE_ROWS]),
                ),
            ),
        ),
        does_not_say="It says nothing of samples that were not retrained, nor of another network, seed or training.",
    )


CHAPTERS: tuple[Callable[[View], Chapter | None], ...] = (retraining, limit, bounds)


def chapters(view: View) -> list[Chapter]:
    """The chapters present in the run, in the order of ``CHAPTERS``."""
    return [chapter for function in CHAPTERS if (chapter := function(view)) is not None]
