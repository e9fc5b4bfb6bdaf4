"""Memory of the diagonal and of Kronecker factors, in multiples of the model's own.

One batch and a loader of three, on a perceptron of ten million parameters. Counted is the peak beyond the model, the
result included.

python -m benchmarks.weights.memory
"""

import ctypes
import pathlib
from functools import partial
from typing import Any

import torch
from torch import nn

import infotorch
from benchmarks.record import append

RESULTS = "weights-diagonal.jsonl"
WIDTH, C, N = 1792, 10, 32


def peak(call: Any) -> int:
    """Bytes beyond what was there, at most."""

    def memory(field: str) -> int:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS:")
    result = call()
    found = memory("VmHWM:") - before
    del result
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, C)).eval()
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    task = infotorch.Task(model)
    batches = [(torch.randn(N, WIDTH), torch.randint(C, (N,))) for _ in range(3)]
    small = infotorch.Task(nn.Linear(2, 2).eval())
    for structure in ("diagonal", "kfac"):  # code is loaded before
        fisher = partial(infotorch.fisher, structure=structure)
        fisher(small, (torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)))
        for name, data in (("one batch", lambda: batches[0]), ("three batches", lambda: iter(batches))):
            multiple = peak(partial(fisher, task, data())) / own
            print(f"{structure}, {name}: {multiple:.2f} times the model's {own / 2**20:.0f} MiB", flush=True)
            case = {"P": own // 4, "N": N, "structure": structure, "data": name}
            append(RESULTS, "memory", case, {"multiple_of_model": multiple, "model_bytes": own})


if __name__ == "__main__":
    main()
