"""Brackets of the supervision complexity of 2,000 labels in 10 classes, N*C = 20,000, without their kernel.

Run with ``python -m benchmarks.supervision.lanczos [mlp|cnn]``; INFOTORCH_DATA names the folder of mnist.npz. Networks
at initialisation in float64, ridge 1e-2 of the mean of the diagonal, to 1 %. Products are counted, and the peak of
resident memory is taken.
"""

import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.record import append
from benchmarks.supervision.kernel import FILE, C, network, pictures
from infotorch import ComplexityReport, Task, supervision_complexity

N, RIDGE_REL, TOL = 2000, 1e-2, 1e-2


def mlp() -> nn.Module:
    """784-128-10, 101,770 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, C)).eval()


NETWORKS = {"mlp": ("mlp 784-128-10", mlp), "cnn": ("cnn 1x28x28 to 10", network)}


def main(names: list[str]) -> None:
    """Measure, print, and append a line for each network."""
    x, y = pictures(N)
    for name in names:
        words, make = NETWORKS[name]
        start = time.perf_counter()
        report = supervision_complexity(
            Task(make().double()), x.double(), F.one_hot(y, C).double(), ridge_rel=RIDGE_REL, solver="lanczos", tol=TOL
        )
        seconds = time.perf_counter() - start
        assert isinstance(report, ComplexityReport)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        case = {"case": f"{words}, MNIST, N={N}", "rows": N * C, "ridge_rel": RIDGE_REL, "tol": TOL}
        bracket = {"products": report.iterations, "lower": report.lower, "upper": report.upper}
        append(FILE, "supervision complexity by products", case, {**bracket, "seconds": seconds, "peak_bytes": peak})
        print(f"{words}: {report.iterations} products, {report.lower:.6g} to {report.upper:.6g}, {seconds:.1f} s, "
              f"peak {peak / 2**20:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:] or list(NETWORKS))
