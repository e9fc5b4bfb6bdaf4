"""The variance of per-sample gradients against torch.func's, on 1000 images of MNIST and a CNN without batch norm.

Run with ``python -m benchmarks.measures.gradient_variance``; INFOTORCH_DATA names the folder of mnist.npz. Both answers
are compared before either is timed; then they take turns.
"""

import os
import pathlib
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.record import append
from benchmarks.unique_information.speed import interleaved
from infotorch import Task
from infotorch.measures.gradient_variance import gradient_variance

N, BATCH = 1000, 128


def by_torch_func(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The same from the gradients of a batch at a time, by ``vmap(grad)``."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(params: dict[str, Tensor], x_n: Tensor, y_n: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, params, (x_n[None],)), y_n[None])

    grads = vmap(grad(loss), (None, 0, 0))
    squares, sums = 0.0, {name: torch.zeros_like(p, dtype=torch.float64) for name, p in params.items()}
    for start in range(0, len(x), BATCH):
        for name, g in grads(params, x[start : start + BATCH], y[start : start + BATCH]).items():
            squares += float(g.flatten(1).square().sum(1).double().sum())
            sums[name] += g.sum(0)
    return squares / len(x) - sum(float(total.square().sum()) for total in sums.values()) / len(x) ** 2


def main() -> None:
    """Check, time, print and append a line."""
    with np.load(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "mnist.npz") as file:
        x = torch.from_numpy(file["x_train"][:N])[:, None].float() / 255
        y = torch.from_numpy(file["y_train"][:N])
    torch.manual_seed(0)
    layers = [layer for i, o in ((1, 32), (32, 32), (32, 64)) for layer in (nn.Conv2d(i, o, 3, stride=2), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10)).eval()
    task = Task(model)
    calls = {
        "gradient_variance": lambda: gradient_variance(task, (x, y), batch_size=BATCH),
        "vmap(grad)": lambda: by_torch_func(model, x, y),
    }
    mine, theirs = (call() for call in calls.values())
    error = abs(mine / theirs - 1)
    assert error < 1e-5, f"relative difference {error:.1e}"
    times = interleaved(calls, 5)
    medians = {way: statistics.median(each) for way, each in times.items()}
    case = {"case": "cnn 1-32-32-64 strided, MNIST, N=1000"}
    append("gradient_variance-cpu.jsonl", "variance of gradients", case, {"seconds": times, "median": medians})
    ratio = medians["vmap(grad)"] / medians["gradient_variance"]
    print(f"{medians['gradient_variance']:.3f} s, vmap(grad) {medians['vmap(grad)']:.3f} s = {ratio:.2f}x")


if __name__ == "__main__":
    main()
