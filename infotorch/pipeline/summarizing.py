"""The samples that a network learns most from, and those that may go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from infotorch.data import samples_of
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures import UniqueInformation
from infotorch.measures.measure import Measure, Progress
from infotorch.pipeline.limit_training import select
from infotorch.pipeline.scoring import score
from infotorch.pipeline.selection import WHERE, apportioned, classes_of, dropped, highest, num_kept
from infotorch.table import Scores, last_times, low_first
from infotorch.task import Task

__all__ = ["Summary", "summarize", "summarize_scores"]

PREFERRED = ("unique_information_functions", "unique_information_weights")
"""Columns to keep samples by where none is named: the first that is there, at its last time."""
OF_ALL = ("groups", "removed", "pred_probs")
"""Options of measures that belong to all samples and fit no part of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """What is kept of N samples, and in which order the others left."""

    kept: np.ndarray
    """Places in the data set, int64 [K], increasing."""
    removed: np.ndarray
    """Places of the others, int64 [N - K], in the order in which they left."""
    round: np.ndarray
    """The round in which each sample left, from 1, int64 [N]; 0 for those that are kept."""
    values: np.ndarray
    """``by`` of each sample in the last round that scored it, float64 [N]."""
    scores: Scores
    """Of all samples, before any left."""
    by: str
    """The column that samples are kept by."""
    rounds: int
    """How often samples were scored."""
    balanced: bool
    """Whether every class keeps its share."""
    ids: tuple[str, ...]
    """The samples' names, [N]."""
    counts_before: dict[int, int] | None
    """Samples of each class; None where labels are no classes."""
    counts_after: dict[int, int] | None
    """Those that are kept."""
    label_names: tuple[str, ...] | None = None
    """Names of the classes 0, 1, ..., where they have some."""

    def __len__(self) -> int:
        """K, the number of samples kept."""
        return len(self.kept)

    @property
    def kept_ids(self) -> tuple[str, ...]:
        """Names of the samples kept, [K], in the order of the data."""
        return tuple(self.ids[i] for i in self.kept)


def summarize(
    task: Task,
    data: Any,
    *,
    keep: float | int,
    measure: str | Measure | Sequence[str | Measure] | None = None,
    rounds: int = 1,
    balanced: bool = False,
    by: str | None = None,
    batch_size: int = 256,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """The most informative samples of ``data``: the others leave, the least informative first.

    Samples are scored and the lowest leave, at once or, with ``rounds``, an equal share a round, after which what is
    left is scored again: a sample whose like has left becomes informative (Harutyunyan et al., arXiv 2101.06640, data
    summarization). Where few samples are to be left, take rounds: scored once, redundant samples all
    look dispensable and leave together. Of equal scores the later sample leaves first; nothing is drawn at random.

    High is informative, and low for columns of :data:`infotorch.table.LOW_FIRST`, such as ``margin``. A wrong label
    is informative too: look for those first. Whether the choice beats a random one is for :func:`compare_summary` to
    say.

    Args:
        task: Model, loss and parameters; the model is left as it is.
        data: Whatever ``infotorch.data.samples_of`` takes. N samples.
        keep: A share of the samples in (0, 1), rounded, or how many.
        measure: As of :func:`infotorch.score`; default unique information in the weights, trained to convergence.
        rounds: How often to score; each round drops an equal share.
        balanced: Keep the proportions of the classes, each to less than one sample.
        by: The column of scores; default unique information in the functions, or else in the weights, or else the
            measure's main column. A name without a time is the last of several.
        batch_size: Samples that a row-wise measure gets at once.
        memory_limit: Bytes that the measure may use.
        progress: Called with stage, steps done and steps in all.

    Returns:
        The samples kept, the order in which others left, and the scores of the first round.

    Raises:
        ConfigError: ``keep`` or ``rounds`` leaves all samples or none, ``by`` is no column of one real number a sample,
            or the measure has an option that belongs to all samples.
        DataError: Labels that are no classes, or of one class, to be balanced; or what :func:`infotorch.score` refuses.
        NumericsError: A score is no number, or what the measure refuses.

    Example:
        >>> task = Task(torch.nn.Linear(3, 1).eval(), loss="mse")
        >>> len(summarize(task, (torch.eye(9, 3), torch.ones(9, 1)), keep=3, measure=UniqueInformation(l2=0.1)))
        3
    """
    samples = samples_of(data)
    measure = UniqueInformation() if measure is None else measure
    chosen = measure if isinstance(measure, (list, tuple)) else [measure]
    for option in OF_ALL:
        if any(getattr(each, option, None) is not None for each in chosen):
            raise ConfigError(
                f"{WHERE}: the measure must fit any part of the samples; got one with {option}. Leave {option} out."
            )

    def scored(places: np.ndarray, r: int) -> Scores:
        part = samples if len(places) == len(samples) else select(samples, torch.from_numpy(places))
        told = progress if progress is None or rounds == 1 else _of_round(progress, r, rounds)
        try:
            return score(
                task, part, measure, batch_size=batch_size, memory_limit=memory_limit, progress=told, fidelity=0
            )
        except (DataError, NumericsError) as error:
            if part is samples:
                raise
            raise type(error)(f"{error} Samples count within the {len(part):,} that round {r} scores.") from error

    return _summary(
        scored, classes_of(samples.y), keep=keep, rounds=rounds, balanced=balanced, by=by, ids=samples.ids,
        label_names=samples.label_names,
    )  # fmt: skip


def summarize_scores(
    scores: Scores,
    *,
    keep: float | int,
    balanced: bool = False,
    by: str | None = None,
    labels: Any = None,
    ids: Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
) -> Summary:
    """The most informative samples by scores that are there, say of a finished run: :func:`summarize` in one round.

    Args:
        scores: Of all N samples.
        keep: A share of the samples in (0, 1), rounded, or how many.
        balanced: Keep the proportions of the classes, each to less than one sample; needs ``labels``.
        by: As of :func:`summarize`.
        labels: Classes of the samples, whole numbers [N].
        ids: Names of the samples, [N]; default their places.
        label_names: Names of the classes 0, 1, ....

    Raises:
        ConfigError: As of :func:`summarize`.
        DataError: Labels that are no classes, none, or of one class, to be balanced.
        ShapeError: Scores, labels and ids are not of one length, or scores are of a part of the data.
    """
    N = len(scores)
    classes = None if labels is None else classes_of(torch.as_tensor(labels))
    names = tuple(map(str, range(N))) if ids is None else tuple(map(str, ids))
    if not np.array_equal(scores.index, np.arange(N)):
        raise ShapeError(
            f"{WHERE}: scores must be of all samples; got {N:,} rows that are not the places 0 to {N - 1:,}. "
            "Score the whole data set."
        )
    for what, given in (("labels", classes), ("ids", names)):
        if given is not None and len(given) != N:
            raise ShapeError(f"{WHERE}: {what} must be one a sample, {N:,}; got {len(given):,}. Leave none out.")
    return _summary(
        lambda places, r: scores, classes, keep=keep, rounds=1, balanced=balanced, by=by, ids=names,
        label_names=None if label_names is None else tuple(label_names),
    )  # fmt: skip


def _summary(
    scored: Callable[[np.ndarray, int], Scores],
    labels: np.ndarray | None,
    *,
    keep: float | int,
    rounds: int,
    balanced: bool,
    by: str | None,
    ids: tuple[str, ...],
    label_names: tuple[str, ...] | None,
) -> Summary:
    """The summary of N samples that ``scored`` scores, given places and the number of the round."""
    N = len(ids)
    K = num_kept(keep, N)
    shares = dropped(N, K, rounds)
    classes = _balanced(labels) if balanced else np.zeros(N, dtype=np.int64)
    quotas = apportioned(np.bincount(classes), K)
    left, round_, values = np.arange(N), np.zeros(N, dtype=np.int64), np.empty(N)
    removed, first = [], None
    for r, share in enumerate(shares, 1):
        scores = scored(left, r)
        if first is None:
            first, by = scores, _column(scores, by)
        assert by is not None
        values[left] = scores[by].values
        signed = -values if low_first(by) else values
        counts = np.bincount(classes[left], minlength=len(quotas))
        stay = highest(signed[left], classes[left], counts - apportioned(counts - quotas, share))
        gone = np.delete(left, stay)
        removed.append(gone[np.lexsort((-gone, signed[gone]))])  # of equal scores the later one first
        round_[gone], left = r, left[stay]
    assert first is not None and by is not None
    return Summary(
        kept=left, removed=np.concatenate(removed), round=round_, values=values, scores=first, by=by, rounds=rounds,
        balanced=balanced, ids=ids, label_names=label_names, counts_before=_counts(labels, np.arange(N)),
        counts_after=_counts(labels, left),
    )  # fmt: skip


def _column(scores: Scores, by: str | None) -> str:
    """The column that was named, or the one to keep samples by; of several times the last."""
    last = last_times(scores.columns)
    if by is None:
        by = next((stem for stem in PREFERRED if stem in last), scores.main or "")
    name = by if by in scores.columns else last.get(by, by)
    values = scores[name].values
    if values.ndim != 1 or values.dtype.kind != "f":
        raise ConfigError(
            f"{WHERE}: by must name a column of one real number a sample; got {name!r}, {values.dtype} "
            f"{list(values.shape)}. Choose of {', '.join(map(repr, scores.columns))}."
        )
    return name


def _balanced(labels: np.ndarray | None) -> np.ndarray:
    """Classes numbered 0, 1, ..., int64 [N]."""
    if labels is None:
        raise DataError(
            f"{WHERE}: balanced needs labels that are classes, whole numbers [N]; got none. Leave balanced out."
        )
    classes, numbered = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{WHERE}: balanced needs samples of two classes or more; got {int(classes[0])} alone. Leave balanced out."
        )
    return numbered.astype(np.int64)


def _counts(labels: np.ndarray | None, places: np.ndarray) -> dict[int, int] | None:
    """Samples at ``places`` of every class that there is."""
    if labels is None:
        return None
    classes = np.unique(labels)
    counts = np.bincount(np.searchsorted(classes, labels[places]), minlength=len(classes))
    return {int(label): int(count) for label, count in zip(classes, counts, strict=True)}


def _of_round(progress: Progress, r: int, rounds: int) -> Progress:
    return lambda stage, done, total: progress(f"round {r} of {rounds}: {stage}", done, total)
