"""Every chapter on all 1,797 handwritten digits, in one report; their scores are by sketched gradients."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from infotorch import store
from infotorch.demo.chapters import bounded, supervised, trained_by_limit, weighed
from infotorch.demo.digits import NUM_DIGITS, parts
from infotorch.demo.folder import free_folder
from infotorch.demo.unique_information import HIDDEN, L2, LR, STEPS, detected, disagreement, figures, flipped, network
from infotorch.measures import Progress, UniqueInformation
from infotorch.pipeline import fidelity_curve, score
from infotorch.report import build
from infotorch.report.supervision import told
from infotorch.table import Estimate, Scores
from infotorch.task import Task

__all__ = ["AllDemoResult", "run_all"]

DIM, DIMS = 1024, (256, 512, 1024, 2048)
"""Size of the sketch, and sizes that are compared with exact scores."""
NUM_COMPARED, EVERY = 150, 9
"""Digits that are also scored exactly; of every so many digits one is what functions are compared on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllDemoResult:
    """What was found, and where it was written."""

    num_samples: int
    auroc: float
    """Chance that a flipped label has a larger leave-one-out residual than a right one."""
    auroc_information: float
    """The same for the unique information in function space."""
    precision: float
    """Share of flipped labels among as many samples as were flipped, by leave-one-out residual."""
    num_flipped: int
    dim: int
    """k."""
    directions: float
    """That training on all digits uses."""
    num_compared: int
    spearman: float
    """Of sketched with exact information in the weights, on those compared; a mean over sketches."""
    stderr: float | None
    suspicious: list[dict[str, Any]]
    """The ten samples to look at first: id, given, suggested, true label, residual, unique information."""
    chapters: dict[str, str]
    """What else was found, in words, by chapter: "limit", "bounds", "weights", "supervision"."""
    run: pathlib.Path
    report: pathlib.Path


def run_all(
    out: str | pathlib.Path = "infotorch-demo-all",
    *,
    seed: int = 0,
    num_samples: int = NUM_DIGITS,
    dim: int = DIM,
    dims: Sequence[int] = DIMS,
    num_compared: int = NUM_COMPARED,
    num_sketches: int = 3,
    progress: Progress | None = None,
) -> AllDemoResult:
    """Every chapter on all digits, a tenth of them mislabelled on purpose; one report joins them by sample.

    Unique information comes from two passes over features on disk. Network and training are those of
    :func:`infotorch.demo.run`, whose exact form would take a kernel of 17,970 rows. Functions are compared on every
    ninth of the same digits. Some digits are also scored exactly, trained alone, to be compared with sketches of
    several sizes. On the same labels LIMIT and plain cross-entropy are trained (arXiv 2002.07933), 2 x 20 networks of
    halves of the digits for an f-CMI bound (arXiv 2110.01584), the network itself, whose weights and layers are weighed
    (arXiv 1905.12213), and a small student that follows a teacher's checkpoints (arXiv 2301.12245).

    Args:
        out: Folder for the runs and the report; the same command on the same folder resumes it.
        seed: Of the order, the flips, the initial weights and the sketch.
        num_samples: Digits, at most 1,797.
        dim: Size of the sketch, k.
        dims: Sizes to compare.
        num_compared: Digits that are also scored exactly.
        num_sketches: Sketches of each size that are compared.
        progress: Called with stage, steps done, steps in all.

    Raises:
        MissingExtraError: scikit-learn or what the report needs is not installed.
        StoreError: ``out`` is a run, or holds the run of another command, or can't be written.
    """
    out = free_folder(out)
    rng = torch.Generator().manual_seed(seed)
    (true,) = parts([num_samples], rng)
    samples = flipped(true, rng)
    task = Task(network(seed), loss="cross_entropy")
    measure = UniqueInformation(
        space="both", lr=LR, steps=STEPS, l2=L2, test_data=samples.x[::EVERY], form="primal", dim=dim, seed=seed
    )

    def notes(scores: Scores) -> dict[str, Any]:
        (sketched,) = store.open(out / "run").notes()["fidelity"]
        curve = fidelity_curve(
            measure,
            task,
            samples,
            dims=dims,
            num_samples=num_compared,
            seeds=num_sketches,
            effective_dimension=sketched["effective_dimension"],
            progress=progress,
        ).note()
        nearest = next(point for point in curve["points"] if point["dim"] == curve["pairs"]["dim"])
        rank = nearest["columns"]["unique_information_weights"]["spearman"]
        found = detected(scores, samples, true.y)
        agreement = Estimate(
            name=f"Spearman with the exact scores of {curve['num_samples']} digits",
            value=rank["mean"],
            stderr=rank["stderr"],
            kind="diagnostic",
            source=f"{num_sketches} sketches of {nearest['dim']} numbers",
        )
        return {
            "title": {
                "sentence": f"Unique information of {len(scores):,} handwritten digits for a 64-128-10 tanh network "
                f"after {STEPS} steps of gradient descent, linearized at its initial weights, by gradients sketched to "
                f"{dim:,} numbers"
            },
            "finding": disagreement(scores, samples),
            "figures": figures(found, agreement),
            "fidelity_curve": curve,
            "supervision": supervised(samples, true.y, seed, progress),
            "demo": {
                **found,
                "num_samples": len(scores),
                "dim": dim,
                "directions": sketched["effective_dimension"],
                "num_compared": curve["num_samples"],
                "spearman": rank["mean"],
                "stderr": rank["stderr"],
            },
        }

    score(task, samples, [measure], out=out / "run", progress=progress, notes=notes, fidelity=num_compared,
          command={"command": "demo", "seed": seed, "argv": f"infotorch demo --all --seed {seed}"})  # fmt: skip
    kept = store.open(out / "run").notes()
    beside = {
        "limit": trained_by_limit(out / "limit", samples, true.y, seed),
        "bounds": bounded(out / "bounds", samples, HIDDEN, seed, progress),
        "weights": weighed(out / "weights", samples, network(seed), seed, progress),
    }
    return AllDemoResult(
        **kept["demo"],
        chapters={name: run.notes()["finding"]["text"] for name, run in beside.items()}
        | {"supervision": f"A student of 16 units. {told(kept['supervision'])}"},
        run=out / "run",
        report=build(out / "run", out / "report.html", beside=list(beside.values())),
    )
