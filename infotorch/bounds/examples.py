"""What the runs tell of each example: whose predictions reveal their membership."""

from dataclasses import dataclass

import numpy as np

from infotorch import errors
from infotorch.bounds.estimation import Runs
from infotorch.bounds.grid import Grid
from infotorch.bounds.information import pair_states, plugin_mi
from infotorch.bounds.taken import taken_runs
from infotorch.table import Column, Scores

__all__ = ["Pair", "example_scores", "membership_pairs"]

CMI, MEMORIZATION = "arXiv 2110.01584, section 4.1", "arXiv 2008.03703, definition 1, over random subsets"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A pair of a supersample, and what its items were predicted to be."""

    items: tuple[int, int]
    """Places in the pool."""
    labels: tuple[int, int]
    """Their labels."""
    information: float
    """Plug-in information between the two predictions and which of the two was trained on, in nats."""
    when_trained_on: np.ndarray
    """[2, 2, C]: share of the runs trained on the first (second) item that predict each class for the first (second)
    item: axes trained item, predicted item, class."""


def example_scores(grid: Grid, *, checkpoint: int | None = None, allow_partial: bool = False) -> Scores:
    """Scores of the pool's items that are in a supersample.

    ``membership_information``: the plug-in information in nats of the predictions on the item's pair with its bit,
    averaged over the supersamples that it is in: how much the network's answers tell of which item of the pair it was
    trained on. ``memorization``: the share of runs that err on the item when it is left out, minus that when it is
    trained on. ``suggested_label``: what most of the runs that left it out predict; the lower number of a tie.

    Args:
        grid: With labels as predictions.
        checkpoint: The epoch; default the last.
        allow_partial: As of ``estimate``.

    Returns:
        Scores by place in the pool.

    Raises:
        ConfigError: The runs kept losses alone.
        StoreError: As of ``estimate``.
    """
    taken = taken_runs(grid, checkpoint=checkpoint, allow_partial=allow_partial)
    size, C = grid.plan.pool_size, grid.num_classes
    information, times = np.zeros(size), np.zeros(size, np.int64)
    runs_of, wrong = np.zeros((2, size), np.int64), np.zeros((2, size), np.int64)  # [left out | trained on, item]
    votes = np.zeros((size, C), np.int64)
    for k1, runs in zip(taken.k1, taken.runs, strict=True):
        items = grid.plan.supersamples[k1]  # [n, 2]
        information[items] += _information(runs, C)[:, None]
        times[items] += 1
        assert runs.predicted is not None
        for column in (0, 1):
            place, trained = items[:, column], runs.bits == column  # [n], [R, n]
            err, seen = runs.wrong[..., column], runs.predicted[..., column]
            for side, rows in enumerate((~trained, trained)):
                runs_of[side, place] += rows.sum(0)
                wrong[side, place] += (err * rows).sum(0)
            for label in range(C):
                votes[place, label] += ((seen == label) & ~trained).sum(0)
    index = np.flatnonzero(times)
    rates = wrong[:, index] / np.maximum(runs_of[:, index], 1)
    return Scores(
        index=index,
        columns={
            "membership_information": Column(values=information[index] / times[index], unit="nats", source=CMI),
            "memorization": Column(values=rates[0] - rates[1], unit="1", source=MEMORIZATION),
            "suggested_label": Column(values=votes[index].argmax(1), unit="1", source=MEMORIZATION, kind="heuristic"),
        },
    )


def membership_pairs(
    grid: Grid, count: int, *, checkpoint: int | None = None, allow_partial: bool = False
) -> list[Pair]:
    """The ``count`` pairs of all supersamples with the most information, most first.

    Raises:
        ConfigError: The runs kept losses alone.
        StoreError: As of ``estimate``.
    """
    taken = taken_runs(grid, checkpoint=checkpoint, allow_partial=allow_partial)
    information = np.stack([_information(runs, grid.num_classes) for runs in taken.runs])  # [K1, n]
    found = []
    for flat in np.argsort(-information, axis=None, kind="stable")[:count].tolist():
        k, i = divmod(flat, information.shape[1])
        runs, items = taken.runs[k], grid.plan.supersamples[taken.k1[k]][i]
        assert runs.predicted is not None
        seen, bits = runs.predicted[:, i], runs.bits[:, i]  # [R, 2], [R]
        shares = np.zeros((2, 2, grid.num_classes))
        for trained in (0, 1):
            rows = seen[bits == trained]
            for item in (0, 1):
                counts = np.bincount(rows[:, item], minlength=grid.num_classes)
                shares[trained, item] = counts / max(len(rows), 1)
        labels = tuple(int(label) for label in runs.labels[i])
        found.append(
            Pair(
                items=(int(items[0]), int(items[1])),
                labels=(labels[0], labels[1]),
                information=float(information[k, i]),
                when_trained_on=shares,
            )
        )
    return found


def _information(runs: Runs, num_classes: int) -> np.ndarray:
    if runs.predicted is None:
        raise errors.ConfigError(
            "example_scores: runs must have kept predicted labels; got losses alone. Return int labels from predict_fn."
        )
    return plugin_mi(pair_states(runs.predicted, num_classes), runs.bits, num_classes**2)
