"""Does the learner follow its seed and its indices? Two more trainings tell."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from infotorch.bounds.grids.cells import Job
from infotorch.bounds.grids.grid import Cell, Grid
from infotorch.store.files import TEMPORARY, write_bytes
from infotorch.store.manifest import damaged, decoded, encoded

__all__ = ["CONTROL", "FIRST", "REPEAT", "Probe", "probe_jobs", "read_probe"]

FIRST, REPEAT, CONTROL = "first", "repeat", "control"
FILE = "probe.json"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What came of training cell (0, 0) again, and of training it on its test samples with the same seed."""

    asked: int
    """Predictions compared."""
    repeat_differs: int
    """Of them, those that differ after the same training."""
    control_differs: int
    """Of them, those that differ after training on the other items."""

    def warnings(self) -> list[str]:
        """What is to be told of it."""
        found = []
        if self.repeat_differs:
            found.append(
                f"The learner isn't deterministic in its seed: of {self.asked:,} predictions {self.repeat_differs:,} "
                "changed when a run was repeated. A restarted run gives another estimate."
            )
        if not self.control_differs:
            found.append(
                f"None of {self.asked:,} predictions changed when a run was trained on other samples with the same "
                "seed. The learner may ignore its train_indices, or be sure of these samples whatever it's "
                "trained on: an estimate well above what chance alone gives tells the second."
            )
        return found


def probe_jobs(grid: Grid, *, together: bool) -> list[Job]:
    """The trainings to compare with cell (0, 0); ``together``, for an ensemble, in two calls with this cell itself.

    What many cells are trained at once may round with their number, so both calls are of two cells: the cell and its
    control, then the cell again, and beside it what was beside it before.
    """
    plan = grid.plan
    pairs, mask = plan.supersamples[0], plan.masks[0, 0]
    own, other = (pairs[np.arange(plan.n), column] for column in (mask, 1 - mask))
    trained = {FIRST: (own, other), REPEAT: (own, other)} if together else {REPEAT: (own,), CONTROL: (other,)}
    return [
        Job(
            k1=0,
            k2=(0,) * len(train),
            train=train,
            seeds=(int(plan.run_seeds[0, 0]),) * len(train),
            indices=pairs.reshape(-1),
            checkpoints=grid.checkpoints,
            name=name,
        )
        for name, train in trained.items()
    ]


def probe_of(first: Cell, repeat: Cell, control: Cell) -> Probe:
    """The predictions of cell (0, 0) against those of its repetition and of the training on the other items."""
    differs = [_differs(first, other) for other in (repeat, control)]
    return Probe(asked=differs[0].size, repeat_differs=int(differs[0].sum()), control_differs=int(differs[1].sum()))


def _differs(first: Cell, other: Cell) -> np.ndarray:
    pairs = [(first.labels, other.labels), (first.losses, other.losses)]
    found = [a != b for a, b in pairs if a is not None and b is not None]
    return np.logical_or.reduce(found) if found else np.zeros(0, bool)


def write_probe(grid: Grid, probe: Probe, temporary: Path) -> None:
    content = {"grid": grid.cells_digest, **asdict(probe)}
    write_bytes(grid.path / FILE, encoded(content, sort_keys=False), temporary=temporary / (FILE + TEMPORARY))


def read_probe(grid: Grid) -> Probe | None:
    """``None`` where the learner wasn't tried, or a learner of another grid was."""
    path = grid.path / FILE
    if not path.exists():
        return None
    content = decoded("open", path)
    try:
        return Probe(**content) if content.pop("grid") in (grid.cells_digest, grid.digest) else None
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged("open", path, f"what is no probe ({error})") from error
