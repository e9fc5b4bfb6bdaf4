"""LIMIT on handwritten digits, two fifths of them mislabelled, beside plain cross-entropy."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import torch
from torch import nn

from infotorch.demo.digits import split
from infotorch.demo.folder import free_folder
from infotorch.demo.single import one_thread
from infotorch.pipeline import train_limit
from infotorch.report import build
from infotorch.store import Run
from infotorch.task import Task

__all__ = ["LimitDemoResult", "run_limit"]

NUM_TRAIN, NUM_TEST = 1400, 397
NOISE = "uniform:0.4"
EPOCHS, BATCH = 60, 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitDemoResult:
    """What the demo found, and where it wrote it. Accuracies are of the last epoch."""

    accuracy_limit: float
    """On test digits."""
    accuracy_ce: float
    """The same, trained by plain cross-entropy."""
    memorised_limit: int
    """Wrong labels that the network repeats."""
    memorised_ce: int
    num_wrong: int
    """Wrong labels."""
    auroc: float
    """Chance that a wrong label has a larger label score than a right one."""
    precision: float
    """Share of wrong labels among as many samples with the largest label score as labels are wrong."""
    suspicious: list[dict[str, Any]]
    """The ten samples to look at first: id, given, suggested, true label, flipped, score."""
    run: pathlib.Path
    report: pathlib.Path


def network() -> nn.Module:
    """A network wide enough to memorise every label."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(),
        nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip


def run_limit(
    out: str | pathlib.Path = "infotorch-demo-limit", *, seed: int = 0, progress: bool | None = None
) -> LimitDemoResult:
    """Trains on 1,400 digits, two fifths of them mislabelled on purpose, by LIMIT and by plain cross-entropy.

    Both networks of LIMIT (arXiv 2002.07933) and the one to compare with are 64-128-128-10 with BatchNorm; the
    absolute mismatch, beta 10, Adam, 60 epochs. All runs on one thread, which is fastest for networks so small.

    Args:
        out: Folder for the run and the report; the same command on the same folder resumes it.
        seed: Of the split, the noise and the weights.
        progress: As of ``LimitTrainer.fit``.

    Raises:
        MissingExtraError: scikit-learn or what the report needs is not installed.
        StoreError: ``out`` is a run, or holds the run of another command, or can't be written.
    """
    out = free_folder(out)
    train, test = split(NUM_TRAIN, NUM_TEST, torch.Generator().manual_seed(seed))
    with one_thread():
        torch.manual_seed(seed)
        classifier, aux = network(), network()
        found = train_limit(
            Task(classifier), train, aux=aux, out=out / "run", noise=NOISE, q="laplace", beta=10.0, epochs=EPOCHS,
            batch_size=BATCH, seed=seed, test_data=test, compare=True, progress=progress,
            command={"command": "demo", "argv": f"infotorch demo limit --seed {seed}"},
        )  # fmt: skip
    note = found.notes()["limit"]
    return LimitDemoResult(
        accuracy_limit=note["history"][-1]["test_acc"],
        accuracy_ce=note["compared"]["history"][-1]["test_acc"],
        memorised_limit=note["memorised"]["count"],
        memorised_ce=note["compared"]["memorised"]["count"],
        num_wrong=note["memorised"]["mislabelled"],
        auroc=note["detection"]["auroc"],
        precision=note["detection"]["precision"],
        suspicious=suspicious(found),
        run=out / "run",
        report=build(out / "run", out / "report.html"),
    )


def suspicious(run: Run) -> list[dict[str, Any]]:
    """The ten labels with the largest score among those that the network contradicts."""
    scores, samples = run.scores(), run.samples(["id", "label", "true_label", "flipped"]).to_pydict()
    suggested = scores["suggested_label"].values
    differ = np.flatnonzero(suggested != np.array(samples["label"]))
    first = differ[np.argsort(-scores.values[differ], kind="stable")[:10]]
    return [
        {
            "id": samples["id"][i],
            "given": samples["label"][i],
            "suggested": int(suggested[i]),
            "true": int(samples["true_label"][i]),
            "flipped": samples["flipped"][i],
            "score": float(scores.values[i]),
        }
        for i in first.tolist()
    ]
