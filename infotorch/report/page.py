"""All that the template shows, and the one table of samples that its scripts read."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from infotorch.report import believe
from infotorch.report.axes import of_range, of_score
from infotorch.report.chapters import chapter_of, chapters
from infotorch.report.figure import Figure
from infotorch.report.numbers import count, number, percent, quantity
from infotorch.report.plots import Group, distribution, scatter, spread
from infotorch.report.theme import CONFIG
from infotorch.report.thumbnails import Thumbnails, nearest, thumbnails
from infotorch.report.view import View, listed, visible

__all__ = ["Card", "content"]

SHOWN, LISTED, ENDS = 24, 96, 8  # suspicious samples seen at first and in all, and samples at each end of a score
MAX_GROUPS, MAX_SPREADS, MAX_SCATTERS, MAX_METADATA = 40, 8, 6, 24
TEXT_BYTES = 800_000  # of ids, labels, texts and metadata, each
MANY_WRONG = 0.2  # of all labels: data sets that are used have fewer wrong ones, networks that barely learned find more
MAIN_IS = {
    "limit": "suspicious", "membership": "revealing", "loss": "surprising", "gradient": "surprising",
    "el2n": "surprising", "margin": "certain", "normalized": "certain", "self": "certain",
    "fisher": "sensitive",
}  # fmt: skip
"""What the samples with the largest asked score are called, by its name's first word; else informative."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One sample in a grid."""

    position: int
    """Row in the page's table of samples."""
    index: int
    id: str
    given: str | None
    suggested: str | None
    """None where it is the given one."""
    text: str | None
    pictured: bool
    title: str
    value: str
    kind: str
    share: float
    """Of the largest value in the run, in percent."""


def content(view: View) -> dict[str, Any]:
    """The template's variables."""
    main = view.scores[view.main]
    order = np.argsort(-main.values, kind="stable")
    listed = view.suspicious[:LISTED]
    most, least = order[:ENDS], order[::-1][: min(ENDS, len(view) - ENDS)] if len(view) > ENDS else order[:0]
    parts = chapters(view)
    paired = [position for chapter in parts if chapter.pairs for position in chapter.pairs.positions]
    first = list(dict.fromkeys([*listed.tolist(), *most.tolist(), *least.tolist(), *paired]))
    wanted = first + [i for i in view.kept.tolist() if i not in set(first)]
    images = _images(view, wanted)
    pictures = thumbnails(images, wanted, len(first))
    near = nearest(images)
    row_of = {int(position): row for row, position in enumerate(view.kept)}
    clipped = _Texts(view)

    def cards(positions: Iterable[int], place: int) -> list[Card]:
        return [_card(view, int(i), place, row_of, clipped, pictures) for i in positions]

    suspicion = view.scores.index(view.suspicion)
    ends = MAIN_IS.get(main.name.partition("_")[0], "informative")
    sections = _figures(view)
    present = [chapter.id for chapter in parts]
    about = [chapter_of(score.name, present) for score in view.scores]
    figures = [figure for group in sections.values() for figure in group] + [f for c in parts for f in c.figures]
    return {
        "sentence": visible(_sentence(view)),
        "finding": _finding(view),
        "figures": _head_figures(view),
        "suspicious": cards(listed, suspicion),
        "num_suspicious": len(view.suspicious),
        "num_wrong": int(view.wrong.sum()),
        "share_wrong": percent(int(view.wrong.sum()), len(view)),
        "num_followed": sum(int(i) in row_of for i in view.suspicious),
        "shown": SHOWN,
        "suspicion": view.suspicion,
        "with_suggestions": view.suggested_text is not None,
        "main": main,
        "ends": ends,
        "any_wrong": bool(view.wrong.any()),
        "whole": view.whole,
        "most": cards(most, view.main),
        "least": cards(least, view.main),
        **sections,
        "chapters": parts,
        "scores_of": {
            id: [(view.scores[i], f"distribution-{i}") for i, of in enumerate(about) if of == id] for id in present
        },
        "row_of": row_of,
        "pictured": frozenset(pictures.uris),
        "checks": believe.checks(view, near),
        "warnings": believe.warnings(view),
        "facts": believe.facts(view),
        "command": believe.command(view),
        "remarks": _remarks(view, pictures, clipped),
        "num_rows": len(view),
        "data": {
            "config": CONFIG,
            "ends": ends,
            "charts": {figure.id: figure.spec for figure in figures},
            "brushes": {figure.id: list(figure.brush) for figure in figures if figure.brush},
            "orders": {
                "suspicious": [row_of[i] for i in view.suspicious.tolist() if i in row_of],
                "most": [row_of[int(i)] for i in most],
                "least": [row_of[int(i)] for i in least],
            },
            "samples": _samples(view, row_of, clipped, pictures, near),
            "about": [id or f"distribution-{i}" for i, id in enumerate(about)],
        },
    }


class _Texts:
    """Texts of the kept samples, each kind cut to a length at which all of them fit the page."""

    def __init__(self, view: View):
        self.limits: dict[str, int] = {}
        kept = view.kept.tolist()
        self.ids = self._fit("ids", {i: view.ids[i] for i in kept})
        self.given = self._fit("labels", {i: view.label_text[i] for i in kept}) if view.label_text else {}
        self.suggested = self._fit("labels", {i: view.suggested_text[i] for i in kept}) if view.suggested_text else {}
        texts = {i: text for i in kept if (text := view.text(i)) is not None}
        self.texts = self._fit("texts", texts)
        self.metadata = {
            name: self._fit("metadata", {i: _plain(values[i]) for i in kept})
            for name, values in list(view.metadata.items())[:MAX_METADATA]
        }

    def _fit(self, what: str, texts: dict[int, str]) -> dict[int, str]:
        for limit in (20_000, 2_000, 500, 120, 40):
            if sum(min(limit, len(text)) for text in texts.values()) <= TEXT_BYTES or limit == 40:
                break
        cut = {i: visible(text if len(text) <= limit else text[: limit - 1] + "…") for i, text in texts.items()}
        if any(len(text) > limit for text in texts.values()):
            self.limits[what] = limit
        return cut


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _images(view: View, wanted: list[int]) -> list[np.ndarray | None]:
    images: list[np.ndarray | None] = [None] * len(view)
    for i in wanted:
        images[i] = view.image(i)
    return images


def _card(
    view: View, i: int, place: int, row_of: dict[int, int], texts: _Texts, pictures: Thumbnails
) -> Card:  # fmt: skip
    score = view.scores[place]
    largest = float(np.abs(score.values).max()) or 1.0
    share = 100 * abs(score.values[i]) / largest if math.isfinite(largest) else 0.0
    return Card(
        position=row_of[i],
        index=int(view.index[i]),
        id=texts.ids[i],
        given=texts.given.get(i),
        suggested=texts.suggested.get(i) if view.wrong[i] else None,
        text=texts.texts.get(i),
        pictured=i in pictures.uris,
        title=score.title,
        value=quantity(score.values[i], score.unit),
        kind=score.kind,
        share=round(share, 2),
    )


def _figures(view: View) -> dict[str, list[Figure]]:
    """Figures of the sections that every run has."""
    main = view.scores[view.main]
    found: list[tuple[str, list[Group], bool]] = []
    if view.classes:
        members = [np.flatnonzero(view.code == c) for c in range(len(view.classes))]
        found.append(("class", list(zip(view.classes, members, strict=True)), False))
    for name, values in view.metadata.items():
        groups, ordered = _groups(values)
        if len(groups) > 1 and len(found) < MAX_SPREADS:
            found.append((visible(name), groups, ordered))
    drawn = of_score(main).clip(main.values)
    tenths = [np.percentile(drawn[rows], [10, 90]) for _, groups, _ in found for _, rows in groups]
    axis = of_range(main, float(np.min(tenths)), float(np.max(tenths))) if found else None
    spreads = [
        spread(main, name, groups, axis, place=place, ordered=ordered)
        for place, (name, groups, ordered) in enumerate(found)
        if axis
    ]
    others = [i for i in range(len(view.scores)) if i != view.main]
    pairs = [(view.main, i) for i in others]
    if len(view.scores) == 3:
        pairs.append((others[0], others[1]))
    return {
        "distributions": [distribution(view, place) for place in range(len(view.scores))],
        "spreads": spreads,
        "scatters": [
            scatter(view, a, b, wide=i == 0 and len(pairs) % 2 == 1) for i, (a, b) in enumerate(pairs[:MAX_SCATTERS])
        ],
    }


def _groups(values: Sequence[Any]) -> tuple[list[Group], bool]:
    """Positions by value, or by fifths where values are many numbers, which have an order; none of too many values."""
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if numeric and len(set(values)) > 12:
        array = np.asarray(values, np.float64)
        edges = np.unique(np.quantile(array, np.linspace(0, 1, 6)))
        part = np.clip(np.searchsorted(edges, array, side="right") - 1, 0, len(edges) - 2)
        names = [f"{number(a)} to {number(b)}" for a, b in itertools.pairwise(edges)]
        return [(name, rows) for p, name in enumerate(names) if len(rows := np.flatnonzero(part == p))], True
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows_of.setdefault(visible(_plain(value)), []).append(row)
        if len(rows_of) > MAX_GROUPS:
            return [], False
    return [(name, np.array(rows)) for name, rows in rows_of.items()], False


def _sentence(view: View) -> str:
    title = view.notes.get("title")
    if title:
        return str(title["sentence"] if isinstance(title, dict) else title).rstrip(".") + "."
    titles = [score.words for score in view.scores[:3]]
    if len(view.scores) > 3:
        titles[2:] = [f"{len(view.scores) - 2} more scores"]
    what = listed(titles)
    return f"{what[0].upper()}{what[1:]} of {count(len(view))} samples."


def _finding(view: View) -> str:
    note = view.notes.get("finding")
    if note:
        return str(note["text"] if isinstance(note, dict) else note)
    if view.suggested_text is not None:
        wrong = int(view.wrong.sum())
        many = " So many tell more of the network than of the labels." if wrong > MANY_WRONG * len(view) else ""
        return (f"{count(wrong)} of {count(len(view))} labels ({percent(wrong, len(view))}) differ from the label that "
                f"is suggested without the sample.{many}")  # fmt: skip
    main = view.scores[view.main]
    tenth = max(1, len(view) // 10)
    total = float(np.abs(main.values).sum())
    share = 100 * float(np.sort(np.abs(main.values))[-tenth:].sum()) / total if total else 0.0
    return f"The {count(tenth)} samples with the largest values hold {share:.0f} % of the total of {main.words}."


def _head_figures(view: View) -> list[dict[str, str]]:
    """At most four numbers with unit and kind."""
    noted = view.notes.get("figures")
    if noted:
        return [_head_figure(figure) for figure in noted[:4]]
    main = view.scores[view.main]
    found: list[dict[str, Any]] = [{"name": "samples", "value": len(view), "unit": "1", "kind": "diagnostic"}]
    if view.suggested_text is not None:
        found.append(
            {"name": "labels with another suggestion", "value": int(view.wrong.sum()), "unit": "1", "kind": "heuristic"}
        )
    middle, top = float(np.median(main.values)), float(main.values.max())
    found.append({"name": f"median {main.words}", "value": middle, "unit": main.unit, "kind": main.kind})
    found.append({"name": f"largest {main.words}", "value": top, "unit": main.unit, "kind": main.kind})
    return [_head_figure(figure) for figure in found]


def _head_figure(figure: dict[str, Any]) -> dict[str, str]:
    value, unit, stderr = float(figure["value"]), figure.get("unit", "1"), figure.get("stderr")
    whole = unit == "1" and value.is_integer() and abs(value) < 2**53 and abs(value) > 1
    return {
        "value": count(int(value)) if whole else number(value),
        "unit": quantity(1, unit).removeprefix("1.00").strip(),
        "stderr": f"± {number(stderr)}" if stderr else "",
        "name": str(figure["name"]),
        "kind": str(figure.get("kind", "estimate")),
    }


def _remarks(view: View, pictures: Thumbnails, texts: _Texts) -> list[str]:
    """What this page leaves out of the run, or shows smaller."""
    said = []
    if not view.whole:
        said.append(f"Charts show all {count(len(view))} samples in bins; {count(len(view.kept))} single samples, the "
                    "most suspicious and those at the ends of each score, are in this page.")  # fmt: skip
    if pictures.side:
        said.append(f"Pictures outside of the grids are reduced to {pictures.side} pixels.")
    if pictures.left_out:
        said.append(f"{count(pictures.left_out)} pictures are left out, for the size of the page.")
    for what, limit in texts.limits.items():
        said.append(f"The {what} are cut at {count(limit)} characters.")
    return said


def _samples(
    view: View, row_of: dict[int, int], texts: _Texts, pictures: Thumbnails, near: dict[int, list[tuple[int, float]]]
) -> dict[str, Any]:
    """Columns over the kept samples, as JSON."""
    kept = view.kept
    rows = kept.tolist()
    scores = [
        {
            "key": f"c{place}",
            "name": score.name,
            "title": score.title,
            "unit": score.unit,
            "kind": score.kind,
            "values": _floats(score.values[kept]),
            "stderr": None if score.stderr is None else _floats(score.stderr[kept]),
            "percentiles": [round(float(p), 1) for p in view.percentiles[place][kept]],
        }
        for place, score in enumerate(view.scores)
    ]
    return {
        "total": len(view),
        "classes": bool(view.classes),
        "scores": scores,
        "index": view.index[kept].tolist(),
        "id": [texts.ids[i] for i in rows],
        "given": [texts.given[i] for i in rows] if texts.given else None,
        "suggested": [texts.suggested[i] for i in rows] if texts.suggested else None,
        "wrong": view.wrong[kept].astype(int).tolist(),
        "code": view.code[kept].tolist(),
        "reliable": None if view.reliable is None else view.reliable[kept].astype(int).tolist(),
        "image": [pictures.uris.get(i) for i in rows] if pictures.uris else None,
        "text": [texts.texts.get(i) for i in rows] if texts.texts else None,
        "metadata": {visible(name): [values[i] for i in rows] for name, values in texts.metadata.items()},
        "nearest": {row_of[i]: [[row_of[j], float(f"{d:.3g}")] for j, d in pairs] for i, pairs in near.items()},
    }


def _floats(values: np.ndarray) -> list[float | None]:
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in values.tolist()]
