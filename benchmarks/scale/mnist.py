"""All images of MNIST, ten outputs, a small convolutional network: time and memory of a run on disk.

python -m benchmarks.scale.mnist [--num 60000] [--dim 1024]; INFOTORCH_DATA names the folder of mnist.npz. One line a
run goes to benchmarks/results/scale-cpu.jsonl: seconds of each stage, the peak of resident memory, samples a second of
the first pass, and the share of it that the network's own forward and C backward passes take alone.
"""

import argparse
import os
import pathlib
import resource
import tempfile
import time

import numpy as np
import torch
from torch import Tensor, nn

import infotorch
from benchmarks.record import append
from infotorch import Task, UniqueInformation
from infotorch.cli.memory import keep_memory

TESTS, BATCH, BATCHES = 1000, 256, 32


class Stages:
    """Seconds from the first word of a stage to the last."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now

    def rounded(self) -> dict[str, float]:
        """To tenths."""
        return {stage: round(s, 1) for stage, s in self.seconds.items()}


def images(split: str, num: int) -> tuple[Tensor, Tensor]:
    with np.load(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "mnist.npz") as file:
        x = torch.from_numpy(file[f"x_{split}"][:num])[:, None].float() / 255
        return x, torch.from_numpy(file[f"y_{split}"][:num])


def network(seed: int = 0, channels: int = 1, side: int = 28) -> nn.Module:
    """Of pictures [channels, side, side]."""
    torch.manual_seed(seed)
    convolutions = [
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
    ]
    flat = 32 * (side // 4) ** 2
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(flat, 32), nn.ReLU(), nn.Linear(32, 10))


def own_share(model: nn.Module, x: Tensor, seconds_a_sample: float) -> float:
    """Of a first pass that takes so long, what a forward and C backward passes to all parameters take alone.

    Both are means over batches, one right after the other.
    """
    parameters = list(model.parameters())

    def plain(images: Tensor) -> None:
        outputs = model(images)
        for c in range(outputs.shape[1]):
            torch.autograd.grad(outputs[:, c].sum(), parameters, retain_graph=True)

    plain(x[:BATCH])
    start = time.perf_counter()
    for batch in range(BATCHES):
        plain(x[batch * BATCH :][:BATCH])
    return (time.perf_counter() - start) / (BATCHES * BATCH) / seconds_a_sample


def main() -> None:
    """Score, print and append a line."""
    keep_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=60_000)
    parser.add_argument("--dim", type=int, default=1024)
    options = parser.parse_args()
    x, y = images("train", options.num)
    model = network().eval()
    measure = UniqueInformation(
        space="both", test_data=images("test", TESTS)[0], form="primal", dim=options.dim, lr=0.1, steps=1000, l2=1e-4
    )
    stages = Stages()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        infotorch.score(Task(model), (x, y), measure, out=f"{folder}/run", batch_size=BATCH, progress=stages)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rate = len(x) / stages.seconds["features"]
    share = own_share(model, x, 1 / rate)
    case = {"data": "MNIST", "N": len(x), "C": 10, "P": sum(p.numel() for p in model.parameters()), "k": options.dim,
            "M": TESTS}  # fmt: skip
    measured = {
        "seconds": round(seconds, 1),
        "stages": stages.rounded(),
        "peak_gib": round(peak, 2),
        "samples_a_second": round(rate),
        "own_share": round(share, 3),
    }
    append("scale-cpu.jsonl", "scale", case, measured)
    print(case, measured)


if __name__ == "__main__":
    main()
