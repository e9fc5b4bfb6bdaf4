"""Bounds on the generalization gap of a small network that tells handwritten fours from nines."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import torch

from infotorch import bounds
from infotorch.demo.folder import free_folder
from infotorch.errors import require
from infotorch.pipeline import keep_bounds
from infotorch.report import build

__all__ = ["BoundsDemoResult", "run_bounds"]

CLASSES = (4, 9)
SIZES = (25, 75, 150)
K1, K2 = 3, 20
HIDDEN, EPOCHS, BATCH, LR = 64, 60, 25, 3e-3
CHECKPOINTS = (5, 10, 20, 40, EPOCHS)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BoundsDemoResult:
    """What the demo found, and where it wrote it."""

    reports: tuple[bounds.Report, ...]
    """After the last epoch, by n."""
    num_revealing: int
    """Digits of which the predictions tell by half a bit and more whether they were trained on; largest n."""
    num_items: int
    """Digits in a supersample of the largest n."""
    run: pathlib.Path
    report: pathlib.Path


def experiment() -> bounds.Experiment:
    """The 361 fours and nines, and a 64-64-2 network by Adam."""
    bunch = require("demo", "sklearn.datasets", "demo").load_digits()
    chosen = np.flatnonzero(np.isin(bunch.target, CLASSES))
    x = torch.tensor(bunch.data[chosen] / 16, dtype=torch.float32)
    y = torch.tensor(np.searchsorted(CLASSES, bunch.target[chosen]))
    ensemble = bounds.mlp_ensemble(
        x, y, hidden=HIDDEN, num_classes=2, optimizer="adam", lr=LR, batch_size=BATCH, epochs=EPOCHS
    )
    return bounds.Experiment(
        labels=y,
        ensemble=ensemble,
        checkpoints=CHECKPOINTS,
        items=x,
        images=(255 - bunch.images[chosen] * 255 / 16).astype(np.uint8),  # ink is dark
        ids=[f"digit-{place:04d}" for place in chosen.tolist()],
        label_names=[str(label) for label in CLASSES],
    )


def run_bounds(
    out: str | pathlib.Path = "infotorch-demo-bounds",
    *,
    seed: int = 0,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> BoundsDemoResult:
    """Trains 3 × 20 networks on 25, 75 and 150 digits each and estimates f-CMI bounds (arXiv 2110.01584) from them.

    Args:
        out: Folder for the runs and the report; the same command on the same folder goes on with it.
        seed: Of supersamples, masks, weights and batches.
        progress: As of ``infotorch.bounds.run``.

    Raises:
        MissingExtraError: scikit-learn or what the report needs is not installed.
        StoreError: ``out`` is a run, or holds the run of another command, or can't be written.
    """
    out = free_folder(out)
    what = experiment()
    grids = []
    for n in SIZES:

        def told(stage: str, done: int, total: int, note: str, n: int = n) -> None:
            if progress is not None:
                progress(f"{stage}, n = {n}", done, total, note)

        plan = bounds.plan(len(what.labels), n, K1, K2, seed=seed)
        grids.append(
            bounds.run(
                plan,
                None,
                out / f"n={n}",
                labels=what.labels,
                ensemble=what.ensemble,
                checkpoints=what.checkpoints,
                items=what.items,
                workers=1,
                progress=told,
            )
        )
    kept = keep_bounds(
        grids, out / "run", experiment=what, bounds=("fcmi", "ecmi", "ld", "kl"),
        command={"command": "demo", "argv": f"infotorch demo bounds --seed {seed}"},
    )  # fmt: skip
    information = kept.scores().values
    return BoundsDemoResult(
        reports=tuple(bounds.estimate(grid, bounds=("fcmi", "kl")) for grid in grids),
        num_revealing=int((information >= np.log(2) / 2).sum()),
        num_items=len(information),
        run=out / "run",
        report=build(out / "run", out / "report.html"),
    )
