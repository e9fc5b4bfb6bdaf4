"""What the runs tell of each example: whose predictions reveal their membership."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from infotorch import errors
from infotorch.bounds.estimates.estimation import Runs
from infotorch.bounds.estimates.taken import Taken, taken_runs
from infotorch.bounds.grids.grid import Grid
from infotorch.bounds.theory.information import loss_states, pair_states, plugin_mi
from infotorch.table import Column, Scores

__all__ = ["Pair", "example_scores", "membership_pairs", "pairs_of", "revealing_by_chance", "scores_of"]

PERMUTATIONS = 9
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
    trained on. ``suggested_label``: what most of the runs that left it out predict; the lower number of a tie. Of runs
    that kept losses alone the first is of the pair's losses, the second the difference of mean losses, and the third
    isn't there.

    Args:
        grid: What ``run`` returned.
        checkpoint: The epoch; default the last.
        allow_partial: As of ``estimate``.

    Returns:
        Scores by place in the pool.

    Raises:
        StoreError: As of ``estimate``.
    """
    return scores_of(taken_runs(grid, allow_partial=allow_partial), checkpoint)


def scores_of(taken: Taken, checkpoint: int | None = None) -> Scores:
    """The scores of ``example_scores``, of runs that are read already."""
    grid, supersamples = taken.grid, taken.runs(checkpoint)
    size, C = grid.plan.pool_size, grid.num_classes
    runs_of, lost = np.zeros((2, size), np.int64), np.zeros((2, size))  # [left out | trained on, item]
    votes = np.zeros((size, C), np.int64)
    for k1, runs in zip(taken.k2, supersamples, strict=True):
        items = grid.plan.supersamples[k1]  # [n, 2]
        loss = runs.loss if runs.predicted is None else runs.wrong
        for column in (0, 1):
            place, trained = items[:, column], runs.bits == column  # [n], [R, n]
            for side, rows in enumerate((~trained, trained)):
                runs_of[side, place] += rows.sum(0)
                lost[side, place] += (loss[..., column] * rows).sum(0)
            if runs.predicted is not None:
                for label in range(C):
                    votes[place, label] += ((runs.predicted[..., column] == label) & ~trained).sum(0)
    index, information = _of_items(taken, [_information(runs, C) for runs in supersamples])
    rates = lost[:, index] / np.maximum(runs_of[:, index], 1)
    columns = {
        "membership_information": Column(values=information, unit="nats", source=CMI),
        "memorization": Column(values=rates[0] - rates[1], unit="1", source=MEMORIZATION),
    }
    if votes.any():
        values = votes[index].argmax(1)
        columns["suggested_label"] = Column(values=values, unit="1", source=MEMORIZATION, kind="heuristic")
    return Scores(index=index, columns=columns)


def revealing_by_chance(taken: Taken, nats: float) -> float:
    """How many items would have so much ``membership_information`` if predictions had nothing to do with the masks.

    The mean over permutations of the masks within their blocks.
    """
    supersamples = taken.runs()
    generator = np.random.Generator(np.random.Philox(key=2))
    counts = []
    for _ in range(PERMUTATIONS):
        found = []
        for runs in supersamples:
            order = np.lexsort((generator.random(len(runs.bits)), runs.blocks))
            found.append(_information(dataclasses.replace(runs, bits=runs.bits[order]), taken.grid.num_classes))
        counts.append(int((_of_items(taken, found)[1] >= nats).sum()))
    return float(np.mean(counts))


def _of_items(taken: Taken, information: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The items in any supersample, and the mean information of their pairs, which is given as [n] each."""
    total, times = np.zeros(taken.grid.plan.pool_size), np.zeros(taken.grid.plan.pool_size, np.int64)
    for k1, nats in zip(taken.k2, information, strict=True):
        items = taken.grid.plan.supersamples[k1]  # [n, 2], no item twice
        total[items] += nats[:, None]
        times[items] += 1
    index = np.flatnonzero(times)
    return index, total[index] / times[index]


def membership_pairs(
    grid: Grid, count: int, *, checkpoint: int | None = None, allow_partial: bool = False
) -> list[Pair]:
    """The ``count`` pairs of all supersamples with the most information, most first.

    Raises:
        ConfigError: The runs kept losses alone.
        StoreError: As of ``estimate``.
    """
    return pairs_of(taken_runs(grid, allow_partial=allow_partial), count, checkpoint)


def pairs_of(taken: Taken, count: int, checkpoint: int | None = None) -> list[Pair]:
    """The pairs of ``membership_pairs``, of runs that are read already."""
    grid, supersamples = taken.grid, taken.runs(checkpoint)
    if any(runs.predicted is None for runs in supersamples):
        raise errors.ConfigError(
            "membership_pairs: runs must have kept predicted labels; got losses alone. Return int labels from "
            "predict_fn."
        )
    information = np.stack([_information(runs, grid.num_classes) for runs in supersamples])  # [K1, n]
    found = []
    for flat in np.argsort(-information, axis=None, kind="stable")[:count].tolist():
        k, i = divmod(flat, information.shape[1])
        runs, items = supersamples[k], grid.plan.supersamples[[*taken.k2][k]][i]
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
    """Nats of each pair, [n]: of its two labels, or of its losses where there are losses alone."""
    if runs.predicted is None:
        states, num_states = loss_states(runs.loss)
        return plugin_mi(states, runs.bits, num_states)
    return plugin_mi(pair_states(runs.predicted, num_classes), runs.bits, num_classes**2)
