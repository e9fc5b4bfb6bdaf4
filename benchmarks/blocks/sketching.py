"""Sketches of every output's gradients at once, beside one output at a time.

Run with ``python -m benchmarks.blocks.sketching``; INFOTORCH_DATA names the folder of mnist.npz. A batch of the network
of benchmarks/scale/mnist.py, captured with ten seeds a sample. "seed by seed" is what ``sketch`` does where seeds share
nothing: the op once a parameter and seed, then stacked and added. Both answers are compared before either is timed;
then they take turns. The line in benchmarks/results/sketching-cpu.jsonl also has what a forward and C backward passes
to all parameters take alone, and the whole of ``features``.
"""

import argparse
import statistics

import torch
from torch import Tensor

from benchmarks.record import append
from benchmarks.scale.mnist import BATCH, images, network
from benchmarks.unique_information.speed import interleaved
from infotorch import Task, capture, ops, sketch
from infotorch.blocks.factors import biases, geometry
from infotorch.blocks.features import features
from infotorch.capture import Capture

DIM, SEED = 1024, 0


def seed_by_seed(cap: Capture) -> Tensor:
    """The same sketches [N, K, DIM] of plain layers."""
    total: Tensor | None = None
    for pair in cap.pairs.values():
        weight, bias = pair.shapes
        options = {"k": DIM, "seed": SEED}
        rows = [ops.project(pair.a, b, name=weight, **geometry(pair), **options) for b in pair.b.unbind(1)]
        g = biases(pair).flatten(0, -2)
        summed = ops.project(g.new_ones(len(g), 1, 1), g[:, None], name=bias, **options).view(cap.N, cap.K, DIM)
        for piece in (torch.stack(rows, 1), summed):
            total = piece if total is None else total.add_(piece)
    assert total is not None
    return total


def main() -> None:
    """Race, print and append a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = network().eval()
    x, _ = images("train", BATCH)
    task = Task(model)
    cap = capture(task, x, seeds="logits")

    def plain() -> None:
        outputs = model(x)
        for c in range(outputs.shape[1]):
            torch.autograd.grad(outputs[:, c].sum(), list(model.parameters()), retain_graph=True)

    with torch.no_grad():
        truth, got = seed_by_seed(cap), sketch(cap, dim=DIM, seed=SEED)
    error = float((got - truth).norm() / truth.norm())
    assert error < 1e-6, f"relative difference {error:.1e}"
    calls = {
        "sketch": lambda: sketch(cap, dim=DIM, seed=SEED),
        "seed by seed": torch.no_grad()(lambda: seed_by_seed(cap)),
        "forward and C backwards": plain,
        "capture": lambda: capture(task, x, seeds="logits"),
        "features": lambda: features(task, x, dim=DIM, seed=SEED),
    }
    times = interleaved(calls, options.repeats)
    medians = {way: round(statistics.median(each), 5) for way, each in times.items()}
    case = {"net": "MNIST", "N": BATCH, "C": cap.K, "P": sum(p.numel() for p in model.parameters()), "k": DIM}
    ratio = medians["seed by seed"] / medians["sketch"]
    share = medians["forward and C backwards"] / medians["features"]
    measured = {"median": medians, "ratio": round(ratio, 2), "own_share": round(share, 2), "error": error}
    append("sketching-cpu.jsonl", "sketch of all outputs", case, measured)
    print(case, measured)


if __name__ == "__main__":
    main()
