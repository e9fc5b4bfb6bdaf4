"""How far a grid of runs is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infotorch.bounds.grids.grid import Grid, read_grid

__all__ = ["Status", "status"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Status:
    """The cells of a grid that are there."""

    done: np.ndarray
    """bool [K1, K2]."""
    seconds: float | None
    """What a run took on average; ``None`` before the first."""

    @property
    def num_done(self) -> int:
        return int(self.done.sum())

    @property
    def missing(self) -> list[tuple[int, int]]:
        """(k1, k2) of every run that is to be made."""
        return [(k1, k2) for k1, k2 in np.argwhere(~self.done).tolist()]

    def __str__(self) -> str:
        pace = "" if self.seconds is None else f", {self.seconds:.3g} s each"
        lines = [f"{self.num_done:,} of {self.done.size:,} runs are there{pace}"]
        rows = [f"supersample {k1}: {int(row.sum())} of {len(row)}" for k1, row in enumerate(self.done)]
        return "\n".join(lines + rows)


def status(out: str | Path | Grid) -> Status:
    """How many runs of the folder are there, and what they took.

    Raises:
        StoreError: There is no plan, or a cell is damaged, altered or foreign.
    """
    grid = out if isinstance(out, Grid) else read_grid(out)
    done = grid.done()
    seconds = [grid.read(k1, k2).seconds for k1, k2 in np.argwhere(done).tolist()]
    return Status(done=done, seconds=float(np.mean(seconds)) if seconds else None)
