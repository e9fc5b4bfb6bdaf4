"""Bounds estimated from the predictions of training runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.bounds.estimation import Runs, report_of
from infotorch.bounds.grid import Cell, Grid, read_grid
from infotorch.bounds.information import Correction
from infotorch.bounds.probe import read_probe
from infotorch.bounds.result import Report

__all__ = ["estimate", "from_predictions"]

MISSING_SHOWN = 10


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
    difference in place of predictions. Under balanced masks no Î is below the true information in expectation; its
    root, and corrected informations, have no such guarantee.

    Args:
        out: Folder of the runs, or what ``run`` returned.
        bounds: Of ``fcmi``, ``ecmi``, ``ld``, ``ld_flat``, ``kl``, ``interp``.
        m: Pairs of a subset; 1 is the tightest. 2 and more only where states are few: losses of 0 and 1, or two
            classes.
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
    place = _place(grid, checkpoint)
    done = grid.done()
    taken, partial = _taken(grid, done, allow_partial)
    pairs = grid.pair_labels
    supersamples, versions = [], set()
    for k1 in range(grid.plan.K1):
        rows = np.flatnonzero(taken[k1])
        if not len(rows):
            continue
        cells = [grid.read(k1, int(k2)) for k2 in rows]
        versions |= {cell.versions for cell in cells}
        supersamples.append(
            Runs(
                bits=grid.plan.masks[k1, rows],
                blocks=rows // grid.plan.block,
                predicted=_stacked(cells, "labels", place),
                labels=pairs[k1],
                losses=_stacked(cells, "losses", place),
            )
        )
    notes = []
    missing = int((~taken).sum())
    if missing:
        notes.append(f"{missing:,} of {taken.size:,} planned runs are missing.")
    probe = read_probe(grid)
    notes += probe.warnings() if probe is not None else []
    if len(versions) > 1:
        notes.append(f"The runs were made by different versions: {'; '.join(sorted(versions))}.")
    return report_of(
        supersamples, num_classes=grid.num_classes, bounds=bounds, m=m, correction=correction,
        design="iid" if partial else grid.plan.mask_design,
        checkpoint=grid.checkpoints[place] if grid.checkpoints else None, notes=notes,
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


def _place(grid: Grid, checkpoint: int | None) -> int:
    """Where a checkpoint lies on the axis T."""
    if checkpoint is None:
        return -1
    if checkpoint not in grid.checkpoints:
        kept = ", ".join(map(str, grid.checkpoints)) or "no checkpoints"
        raise errors.ConfigError(
            f"estimate: checkpoint must be one of the run's; got {checkpoint}, where there are {kept}. Choose one of "
            "these, or leave it out for the last."
        )
    return grid.checkpoints.index(checkpoint)


def _taken(grid: Grid, done: np.ndarray, allow_partial: bool) -> tuple[np.ndarray, bool]:
    """The cells [K1, K2] that are taken, and whether any of their blocks is incomplete.

    Raises:
        StoreError: A block is incomplete, and that isn't allowed, or there is no run at all.
    """
    plan = grid.plan
    if not done.any():
        raise errors.StoreError(
            f"estimate: there must be runs in {grid.path}; got a plan of {done.size} and none trained. Call run first."
        )
    block = plan.block if plan.mask_design == "balanced" else 1
    whole = np.repeat(done.reshape(plan.K1, -1, block).all(2), block, axis=1)
    if allow_partial:
        return done, bool((done != whole).any())
    if (done != whole).any() or not whole.any(1).all():
        missing = [f"(k1={k1}, k2={k2})" for k1, k2 in np.argwhere(~done).tolist()]
        shown = ", ".join(missing[:MISSING_SHOWN]) + (", …" if len(missing) > MISSING_SHOWN else "")
        raise errors.StoreError(
            f"estimate: every block of {block} runs must be whole in {grid.path}; got {len(missing)} of {done.size} "
            f"missing: {shown}. Call run to train them, or pass allow_partial=True."
        )
    return whole, False


def _stacked(cells: Sequence[Cell], name: str, place: int) -> np.ndarray | None:
    """[R, n, 2] of one checkpoint, where every cell has it."""
    parts = [getattr(cell, name) for cell in cells]
    return None if any(part is None for part in parts) else np.stack([part[place] for part in parts])


def _array(where: str, name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise errors.ConfigError(
            f"{where}: {name} must be whole numbers; got {array.dtype}. "
            f"Convert {'the predicted probabilities to labels' if name == 'predictions' else name}."
        )
    return array
