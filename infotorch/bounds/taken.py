"""The runs of a grid that an estimate is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infotorch import errors
from infotorch.bounds.estimation import Runs
from infotorch.bounds.grid import Cell, Grid
from infotorch.bounds.probe import read_probe

__all__ = ["Taken", "taken_runs"]

MISSING_SHOWN = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """Whole blocks of runs, or all that are there."""

    k1: tuple[int, ...]
    """The supersamples that have any."""
    runs: list[Runs]
    """The runs of each of them."""
    design: str
    """``"balanced"`` where every block is whole."""
    checkpoint: int | None
    """The epoch that the predictions are of."""
    notes: list[str]
    """What is to be told of them."""


def taken_runs(grid: Grid, *, checkpoint: int | None = None, allow_partial: bool = False) -> Taken:
    """Reads the cells; see ``estimate``."""
    place = _place(grid, checkpoint)
    taken, partial = _cells(grid, grid.done(), allow_partial)
    pairs = grid.pair_labels
    supersamples, versions = {}, set()
    for k1 in range(grid.plan.K1):
        rows = np.flatnonzero(taken[k1])
        if not len(rows):
            continue
        cells = [grid.read(k1, int(k2)) for k2 in rows]
        versions |= {cell.versions for cell in cells}
        supersamples[k1] = Runs(
            bits=grid.plan.masks[k1, rows],
            blocks=rows // grid.plan.block,
            predicted=_stacked(cells, "labels", place),
            labels=pairs[k1],
            losses=_stacked(cells, "losses", place),
        )
    notes = []
    missing = int((~taken).sum())
    if missing:
        notes.append(f"{missing:,} of {taken.size:,} planned runs are missing.")
    probe = read_probe(grid)
    notes += probe.warnings() if probe is not None else []
    if len(versions) > 1:
        notes.append(f"The runs were made by different versions: {'; '.join(sorted(versions))}.")
    return Taken(
        k1=tuple(supersamples),
        runs=list(supersamples.values()),
        design="iid" if partial else grid.plan.mask_design,
        checkpoint=grid.checkpoints[place] if grid.checkpoints else None,
        notes=notes,
    )


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


def _cells(grid: Grid, done: np.ndarray, allow_partial: bool) -> tuple[np.ndarray, bool]:
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
