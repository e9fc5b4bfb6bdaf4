"""f-CMI and the account of a Langevin training side by side on MNIST, 4 v 9, n = 4000, as in arXiv 2110.01584.

``python -m benchmarks.bounds.langevin`` makes the runs that are missing under .cache/bounds and appends a line for each
checkpoint. The network has no batch normalization, which couples samples; the gradients' variance is of 500 training
samples, every 10 steps of 4 of the 30 runs. 6 epochs, where the paper has 40.
"""

import math
import pathlib
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.bounds.digits import cnn, pool
from benchmarks.bounds.mnist import RUNS
from benchmarks.record import append
from infotorch import Task, bounds

RESULTS = "bounds-langevin.jsonl"
N, K1, K2, BATCH = 4000, 5, 30, 100
EPOCHS, CHECKPOINTS = 6, (1, 2, 3, 4, 5, 6)
TRACKED, EVERY, SAMPLES = 4, 10, 500


def lr(step: int) -> float:
    return 0.004 * 0.9 ** (step / 100)


def beta(step: int) -> float:
    return min(4000.0, max(100.0, 10 * math.exp(step / 100)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """A ``train_fn`` by Langevin dynamics; of the first masks it keeps the gradients' variances too."""

    x: Tensor
    y: Tensor
    out: pathlib.Path
    """Where the variances are kept."""

    def __call__(self, train: np.ndarray, seed: int, extra: bounds.Extra) -> object:
        network = cnn(batch_norm=False)
        optimizer = bounds.Langevin(network.parameters(), lr, beta)
        order = torch.Generator().manual_seed(seed)
        rows = torch.from_numpy(train)
        x, y = self.x[rows], self.y[rows]
        variances, kept = [], []
        for epoch in range(1, EPOCHS + 1):
            for batch in torch.randperm(N, generator=order).split(BATCH):
                step = len(optimizer.lrs)
                if extra.k2 < TRACKED and step % EVERY == 0:
                    network.eval()
                    few = torch.randperm(N, generator=order)[:SAMPLES]
                    variances.append(bounds.gradient_variance(Task(network), (x[few], y[few])))
                    network.train()
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
            if epoch in extra.checkpoints:
                kept.append({name: value.clone() for name, value in network.state_dict().items()})
        if extra.k2 < TRACKED:
            np.save(self.out / f"{extra.k1}-{extra.k2}.npy", np.array(variances))
        return partial(self.predict, network, kept)

    def predict(self, network: torch.nn.Module, kept: list[dict[str, Tensor]], indices: np.ndarray) -> np.ndarray:
        found = []
        with torch.no_grad():
            for weights in kept:
                network.load_state_dict(weights)
                parts = torch.from_numpy(indices).split(1000)
                found.append(torch.cat([network(self.x[rows]).argmax(1) for rows in parts]).numpy())
        return np.stack(found)


def main() -> None:
    x, y = pool()
    folder = RUNS / "langevin-variances"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()

    def progress(stage: str, now: int, total: int, note: str) -> None:
        print(f"{now} of {total} runs, {time.perf_counter() - begun:.0f} s  {note}", flush=True)

    grid = bounds.run(
        bounds.plan(len(y), N, K1, K2), Learner(x=x, y=y, out=folder), RUNS / "langevin-4000", labels=y,
        checkpoints=CHECKPOINTS, workers=2, probe=False, progress=progress,
    )  # fmt: skip
    tracked = [[np.load(folder / f"{k1}-{k2}.npy") for k2 in range(TRACKED)] for k1 in range(K1)]
    steps = np.arange(N // BATCH * EPOCHS)
    for epoch in CHECKPOINTS:
        T = N // BATCH * epoch
        variances = np.array(tracked).reshape(K1 * TRACKED, -1)[:, : math.ceil(T / EVERY)]
        eta, inverse = [lr(t) for t in steps[:T]], [beta(t) for t in steps[:T]]
        accounts = {
            convention: bounds.sgld_account(
                eta, inverse, variances, n=N, batch=BATCH, convention=convention, every=EVERY
            ).to_dict()
            for convention in ("derived", "reference")
        }
        found = bounds.estimate(grid, bounds=("fcmi", "ld", "kl"), checkpoint=epoch)
        case = {"n": N, "K1": K1, "K2": K2, "epoch": epoch, "epochs": EPOCHS}
        seconds = round(time.perf_counter() - begun, 1)
        measured = {"report": found.as_dict(), "account": accounts, "wall_seconds": seconds}
        append(RESULTS, "langevin, mnist 4 v 9", case, measured)
        print(epoch, found.gap, found["fcmi"].value, accounts["derived"]["value"], flush=True)


if __name__ == "__main__":
    main()
