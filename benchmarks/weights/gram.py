"""Exact information in the weights by the kernel of the Fisher matrix's rows, beside the tangent kernel alone.

Networks of about a million weights, 500 samples, ten classes: 4,500 rows. Run: python -m benchmarks.weights.gram
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.record import append
from infotorch import Task, ntk, weights_information

N, C, ROUNDS = 500, 10, 3


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 640), nn.ReLU(), nn.Linear(640, 640), nn.ReLU(), nn.Linear(640, C)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(64 * 49, 290), nn.ReLU(), nn.Linear(290, C),
    )  # fmt: skip


def information(task: Task, x: Tensor, y: Tensor) -> float:
    """Exact numbers, without draws and parts by layer."""
    return weights_information(task, (x, y), estimator="gram", draws=0, per_layer=False).nats


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    torch.set_num_threads(2)
    for made in (perceptron, convolutional):
        torch.manual_seed(0)
        model, x, y = made().eval(), torch.randn(N, 1, 28, 28), torch.randint(0, C, (N,))
        task = Task(model)
        P = sum(p.numel() for p in model.parameters())
        calls = {
            "ntk": lambda task=task, x=x: ntk(task, x),
            "gram": lambda task=task, x=x, y=y: information(task, x, y),
        }
        times = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name].append(seconds(call))
        median = {name: statistics.median(values) for name, values in times.items()}
        ratio = median["gram"] / median["ntk"]
        print(f"{made.__name__}: P = {P:,}, ntk {median['ntk']:.2f} s, gram {median['gram']:.2f} s, {ratio:.2f} times")
        case = {"net": made.__name__, "P": P, "N": N, "rows": N * (C - 1)}
        append("weights-gram.jsonl", "weights.gram", case, {"seconds": median, "ratio": ratio})


if __name__ == "__main__":
    main()
