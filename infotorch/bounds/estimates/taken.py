"""The runs of a grid that an estimate is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infotorch import errors
from infotorch.bounds.estimates.estimation import Runs
from infotorch.bounds.grids.cells import may_be_labels
from infotorch.bounds.grids.grid import Cell, Grid
from infotorch.bounds.grids.probe import read_probe

__all__ = ["Taken", "taken_runs"]

MISSING_SHOWN = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """Whole blocks of runs, or all that are there, at every checkpoint."""

    grid: Grid
    """Where they are from."""
    k2: dict[int, np.ndarray]
    """The masks of the runs of each supersample that has any."""
    predicted: dict[int, np.ndarray | None]
    """[R, T, n, 2] labels of each supersample; ``None`` where any run kept losses alone."""
    losses: dict[int, np.ndarray | None]
    """The same of losses."""
    design: str
    """``"balanced"`` where every block is whole."""
    notes: list[str]
    """What is to be told of them."""
    made_by: tuple[str, ...]
    """The versions and learners that made them."""

    def epoch(self, checkpoint: int | None) -> int | None:
        """The checkpoint that is meant; ``None`` where there are none."""
        return self.grid.checkpoints[self._place(checkpoint)] if self.grid.checkpoints else None

    def runs(self, checkpoint: int | None = None) -> list[Runs]:
        """The runs of each supersample at one checkpoint, by default the last.

        Raises:
            ConfigError: It isn't one of the run's.
        """
        place, plan, pairs = self._place(checkpoint), self.grid.plan, self.grid.pair_labels
        found = []
        for k1, rows in self.k2.items():
            predicted, losses = (
                None if whole is None else whole[:, place] for whole in (self.predicted[k1], self.losses[k1])
            )
            found.append(
                Runs(
                    bits=plan.masks[k1, rows],
                    blocks=rows // plan.block,
                    predicted=predicted,
                    labels=pairs[k1],
                    losses=losses,
                )
            )
        return found

    def _place(self, checkpoint: int | None) -> int:
        marks = self.grid.checkpoints
        if checkpoint is None:
            return -1
        if checkpoint not in marks:
            kept = ", ".join(map(str, marks)) or "no checkpoints"
            raise errors.ConfigError(
                f"estimate: checkpoint must be one of the run's; got {checkpoint}, where there are {kept}. Choose one "
                "of these, or leave it out for the last."
            )
        return marks.index(checkpoint)


def taken_runs(grid: Grid, *, allow_partial: bool = False) -> Taken:
    """Reads the cells; see ``estimate``."""
    taken, partial = _cells(grid, grid.done(), allow_partial)
    k2: dict[int, np.ndarray] = {}
    predicted: dict[int, np.ndarray | None] = {}
    losses: dict[int, np.ndarray | None] = {}
    versions = set()
    for k1 in range(grid.plan.K1):
        rows = np.flatnonzero(taken[k1])
        if not len(rows):
            continue
        cells = [grid.read(k1, int(row)) for row in rows]
        versions |= {cell.versions for cell in cells}
        k2[k1], predicted[k1], losses[k1] = rows, _stacked(cells, "labels"), _stacked(cells, "losses")
    notes = []
    missing = int((~taken).sum())
    if missing:
        notes.append(f"{missing:,} of {taken.size:,} planned runs are missing.")
    if beyond := grid.num_beyond():
        notes.append(f"{beyond:,} runs in the folder are beyond this plan and don't count here.")
    if all(each is None for each in predicted.values()) and all(map(may_be_labels, losses.values())):
        notes.append("Predictions are losses of 0 and 1, in floating point; were they labels, nothing here holds.")
    probe = read_probe(grid)
    notes += probe.warnings() if probe is not None else []
    design = "iid" if partial else grid.plan.mask_design
    return Taken(
        grid=grid, k2=k2, predicted=predicted, losses=losses, design=design, notes=notes,
        made_by=tuple(sorted(versions)),
    )  # fmt: skip


def _cells(grid: Grid, done: np.ndarray, allow_partial: bool) -> tuple[np.ndarray, bool]:
    """The cells [K1, K2] that are taken, and whether any of their blocks is incomplete.

    Independent masks are one block: which of their runs are there may depend on what was trained on.

    Raises:
        StoreError: A block is incomplete, and that isn't allowed, or there is no run at all.
    """
    plan = grid.plan
    if not done.any():
        raise errors.StoreError(
            f"estimate: there must be runs in {grid.path}; got a plan of {done.size} and none trained. Call run first."
        )
    block = plan.block if plan.mask_design == "balanced" else plan.K2
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


def _stacked(cells: Sequence[Cell], name: str) -> np.ndarray | None:
    """[R, T, n, 2], where every cell has it."""
    parts = [getattr(cell, name) for cell in cells]
    return None if any(part is None for part in parts) else np.stack(parts)
