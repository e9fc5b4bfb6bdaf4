"""The MNIST trainings of the acceptance, in the order in which they are worth running."""

import itertools
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.limit import noisy_data
from benchmarks.limit.training import Limit, Method, trained
from benchmarks.record import append, read

RESULTS = "limit-mnist.jsonl"
TRAINING = "a training"
EPOCHS = 20
LIMIT_G, LIMIT_L = Limit(q="gaussian", beta=10.0), Limit(q="laplace", beta=10.0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line of the table and one seed."""

    noise: float
    method: Method
    seed: int

    @property
    def case(self) -> dict[str, Any]:
        """What tells its record from others."""
        return {"noise": self.noise, "method": str(self.method), "seed": self.seed}


NEEDED: list[tuple[float, Method]] = [(0.8, LIMIT_L), (0.8, "ce"), (0.5, LIMIT_L), (0.5, LIMIT_G), (0.5, "ce")]
COMPARED: list[tuple[float, Method]] = [(0.8, LIMIT_G), (0.8, "gce"), (0.8, "mae"), (0.5, "gce"), (0.5, "mae")]
SEEDS = (0, 1)
RUNS = [
    Run(noise=noise, method=method, seed=seed)
    for rows in (NEEDED, COMPARED)
    for seed in SEEDS
    for noise, method in rows
]


def mlp() -> nn.Sequential:
    """784-256-256-256-10, batch normalization and ReLU after each hidden layer."""
    sizes = [784, 256, 256, 256]
    hidden = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 10))


def records() -> dict[tuple[float, str, int], dict[str, Any]]:
    """What was measured, by noise, method and seed; the last line of each."""
    return {tuple(line["case"].values()): line for line in read(RESULTS) if line["benchmark"] == TRAINING}


def run_missing() -> None:
    """Runs what has no line yet, and appends it."""
    done = records()
    for run in RUNS:
        if tuple(run.case.values()) in done:
            continue
        data = noisy_data.mnist(noisy_data.folder(), run.noise, run.seed)
        found = trained(run.method, data, mlp, seed=run.seed, epochs=EPOCHS, noise=run.noise)
        append(RESULTS, TRAINING, run.case, found)
        print(
            f"noise {run.noise} {run.method!s:16} seed {run.seed}: test {found['test_last']:.1f}, memorised "
            f"{found['memorised']} of {found['mislabelled']}, {found['cpu_seconds']:.2f} s of processor an epoch",
            flush=True,
        )
