"""Chapters that only some runs have. Each is a function from the run to a chapter, or None."""

from collections.abc import Callable, Iterable

from infotorch.report.activations import activations
from infotorch.report.bounds import bounds
from infotorch.report.equality import equality, score_of
from infotorch.report.fidelity import fidelity
from infotorch.report.figure import Chapter
from infotorch.report.limit import limit
from infotorch.report.numbers import count, number
from infotorch.report.supervision import supervision
from infotorch.report.view import View
from infotorch.report.weights import weights

__all__ = ["CHAPTERS", "chapter_of", "chapters", "retraining"]


def retraining(view: View) -> Chapter | None:
    """How the scores agree with networks that were really trained without the sample; needs the note "retraining"."""
    note = view.notes.get("retraining")
    if not note:
        return None
    score = score_of(view, note.get("column"))
    scored, retrained = note["linearized"], note["retrained"]
    index = note.get("index", range(len(scored)))
    pearson, rank = number(note["pearson"]), number(note["spearman"])
    return Chapter(
        id="retraining",
        title="Agreement with true retraining",
        says=f"{note['what'][:1].upper()}{note['what'][1:]}. Over these {count(len(scored))}: Pearson {pearson}, "
        f"Spearman {rank} (diagnostic). On the dashed line the score equals what retraining gives.",
        figures=(
            equality(
                view,
                score,
                index,
                [("scored", scored), ("retrained", retrained)],
                id="retraining-scatter",
                alt=f"Scatter of {len(scored)} samples, score against true retraining. Pearson {pearson}.",
                caption=f"Pearson {pearson}, Spearman {rank}.",
            ),
        ),
        does_not_say="It says nothing of samples that were not retrained, nor of another network, seed or training.",
    )


CHAPTERS: tuple[Callable[[View], Chapter | None], ...] = (
    retraining, fidelity, limit, weights, activations, bounds, supervision,
)  # fmt: skip
SCORES = {
    "limit": ("limit_",),
    "weights": ("leverage", "fisher_trace"),
    "bounds": ("membership_information", "memorization"),
}
"""Beginnings of the names of the scores that a chapter is about, by its id."""


def chapter_of(name: str, present: Iterable[str]) -> str | None:
    """The id of the chapter, among those present, that is about the score of this name."""
    return next((id for id in present if name.startswith(SCORES.get(id, ()))), None)


def chapters(view: View) -> list[Chapter]:
    """The chapters present in the run, in the order of ``CHAPTERS``."""
    return [chapter for function in CHAPTERS if (chapter := function(view)) is not None]
