"""What a call costs beside its products: on stacks of layers so small that computing is nothing.

``python -m benchmarks.engine.overhead`` appends one line: processor time of a plain forward and backward, of a capture
and of per-sample gradient norms, as a constant and a share a layer, fitted to the least times at 1 to 32 layers.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.record import append
from infotorch import Task, capture, per_sample_grad_norms

RESULTS = "engine-overhead.jsonl"
LAYERS = (1, 2, 4, 8, 16, 32)
ROUNDS = 200


def calls(layers: int) -> dict[str, Callable[[], object]]:
    """What is timed, on a stack of so many Linears of width 8 and two samples."""
    stack = [layer for _ in range(layers) for layer in (nn.Linear(8, 8), nn.Tanh())]
    model = nn.Sequential(*stack).eval()
    task, batch = Task(model), (torch.randn(2, 8), torch.tensor([0, 1]))
    params = list(model.parameters())

    def plain() -> object:
        return torch.autograd.grad(nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum"), params)

    return {
        "forward+backward": plain,
        "capture": lambda: capture(task, batch).close(),
        "norms": lambda: per_sample_grad_norms(task, batch),
    }


def least(timed: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least processor microseconds, in turns."""
    found = dict.fromkeys(timed, float("inf"))
    for _ in range(ROUNDS):
        for name, call in timed.items():
            start = time.process_time_ns()
            call()
            found[name] = min(found[name], (time.process_time_ns() - start) / 1e3)
    return found


def main() -> None:
    torch.set_num_threads(1)
    times = [least(calls(layers)) for layers in LAYERS]
    fits = {}
    for name in times[0]:
        each, once = np.polyfit(LAYERS, [found[name] for found in times], 1)
        fits[name] = {"once_us": round(float(once), 1), "a_layer_us": round(float(each), 1)}
        print(f"{name:17} {once:7.1f} us and {each:6.1f} us a layer", flush=True)
    append(RESULTS, "engine-overhead", {"layers": LAYERS, "width": 8, "N": 2}, fits)


if __name__ == "__main__":
    main()
