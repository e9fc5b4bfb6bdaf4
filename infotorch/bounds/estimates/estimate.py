"""Bounds estimated from the predictions of training runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.bounds.estimates.estimation import Runs, report_of
from infotorch.bounds.estimates.result import Report
from infotorch.bounds.estimates.taken import taken_runs
from infotorch.bounds.grids.grid import Grid, read_grid
from infotorch.bounds.theory.information import Correction

__all__ = ["estimate", "from_predictions"]


def estimate(
    out: str | Path | Grid,
    *,
    bounds: Sequence[str] = ("fcmi",),
    m: int = 1,
    correction: Correction = "none",
    checkpoint: int | None = None,
    allow_partial: bool = False,
) -> Report:
    """Bounds on the expected generalization gap, estimated from the runs in a folder.

    With Î the plug-in information of the predictions on a pair with its bit, ``fcmi`` is the mean over supersamples of
    ``(1/n) Σ_i √(2 Î_i)`` (arXiv 2110.01584, section 4.1); ``ecmi`` and ``ld`` have the pair of losses and their
    difference in place of predictions. Under balanced masks and with m = 1 no Î is below the true information in
    expectation; its root, corrected informations, and those of larger subsets may be.

    Args:
        out: Folder of the runs, or what ``run`` returned.
        bounds: Of ``fcmi``, ``ecmi``, ``ld``, ``ld_flat``, ``kl``, ``interp``.
        m: Pairs of a subset, of ``fcmi`` and ``ecmi``; 1 is the tightest. 2 and more only where states are few: losses
            of 0 and 1, or two classes.
        correction: ``"none"``, ``"miller_madow"`` or ``"jackknife"``: less bias, and no one-sidedness.
        checkpoint: The epoch to take, one of the run's checkpoints; default the last.
        allow_partial: Take the runs that are there, whatever is missing; the masks then count as independent.

    Returns:
        The report.

    Raises:
        ConfigError: An option is out of range, or the runs lack labels or losses that a bound is of.
        StoreError: There are no runs, a block of them is incomplete, or a cell is damaged, altered or foreign.
    """
    grid = out if isinstance(out, Grid) else read_grid(out)
    taken = taken_runs(grid, allow_partial=allow_partial)
    return report_of(
        taken.runs(checkpoint), num_classes=grid.num_classes, bounds=bounds, m=m, correction=correction,
        design=taken.design, checkpoint=taken.epoch(checkpoint), notes=taken.notes, made_by=taken.made_by,
    )  # fmt: skip


def from_predictions(
    predictions: Any,
    masks: Any,
    labels: Any,
    *,
    num_classes: int,
    bounds: Sequence[str] = ("fcmi",),
    m: int = 1,
    correction: Correction = "none",
) -> Report:
    """Bounds from arrays: as ``estimate``, for runs that were made elsewhere.

    Args:
        predictions: int [K1, K2, n, 2], the labels predicted by each run for both items of every pair.
        masks: [K1, K2, n] of 0 and 1, the column of each pair that the run was trained on.
        labels: int [K1, n, 2], the true labels.
        num_classes: C.
        bounds: As of ``estimate``.
        m: As of ``estimate``.
        correction: As of ``estimate``.

    Returns:
        The report. Masks whose columns are half ones count as balanced.

    Raises:
        ConfigError: An option is out of range, or predictions are not labels.
        ShapeError: Shapes disagree.
        DataError: A label is outside the classes, or a mask is not of 0 and 1.
    """
    where = "from_predictions"
    C = int(num_classes)
    predicted, bits, true = (_array(where, name, x) for name, x in
                             (("predictions", predictions), ("masks", masks), ("labels", labels)))  # fmt: skip
    if predicted.ndim != 4 or predicted.shape[3] != 2:
        raise errors.ShapeError(
            f"{where}: predictions must be [K1, K2, n, 2]; got {list(predicted.shape)}. "
            "Stack the predictions for both columns of each pair last."
        )
    K1, K2, n, _ = predicted.shape
    for name, array, shape in (("masks", bits, (K1, K2, n)), ("labels", true, (K1, n, 2))):
        if array.shape != shape:
            raise errors.ShapeError(
                f"{where}: {name} must be {list(shape)}, as the predictions are {list(predicted.shape)}; got "
                f"{list(array.shape)}. Pass the {name} of these very runs."
            )
    if not predicted.size:
        raise errors.ShapeError(f"{where}: there must be runs; got {list(predicted.shape)}. Pass at least one.")
    for name, array, most in (("predictions", predicted, C - 1), ("labels", true, C - 1), ("masks", bits, 1)):
        wrong = (array < 0) | (array > most)
        if wrong.any():
            raise errors.DataError(
                f"{where}: {name} must be from 0 to {most}; got {array[wrong][0]} at "
                f"{np.argwhere(wrong)[0].tolist()}. Correct {name}{'' if most == 1 else ' or num_classes'}."
            )
    balanced = bool((bits.sum(1, dtype=np.int64) * 2 == K2).all())
    supersamples = [
        Runs(bits=bits[k].astype(np.uint8), blocks=np.zeros(K2, np.int64), predicted=predicted[k], labels=true[k],
             losses=None)
        for k in range(K1)
    ]  # fmt: skip
    return report_of(
        supersamples, num_classes=C, bounds=bounds, m=m, correction=correction,
        design="balanced" if balanced else "iid", checkpoint=None, notes=[],
    )  # fmt: skip


def _array(where: str, name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise errors.ConfigError(
            f"{where}: {name} must be whole numbers; got {array.dtype}. "
            f"Convert {'the predicted probabilities to labels' if name == 'predictions' else name}."
        )
    return array
