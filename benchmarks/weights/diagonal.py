"""The diagonal of the exact Fisher information, ten classes, against nine plain backward passes and other libraries.

The nine passes are what a gradient of nine numbers takes: one forward and nine calls of autograd.grad for all weights
on the graph that is kept. All diagonals are checked to agree with a loop over samples and labels before anything is
timed. Rounds are interleaved. Every library is called as fast as its own documentation says.

python -m benchmarks.weights.diagonal [--threads 2]
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from importlib import util

import torch
from torch import Tensor, nn

import infotorch
from benchmarks.record import append

RESULTS = "weights-diagonal.jsonl"
N, C = 512, 10
SECONDS = 20.0
"""Of racing a network."""
RTOL = 1e-3
"""Relative Frobenius norm in float32."""

Call = Callable[[], object]


def mlp() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, C)), torch.randn(N, 256)


def cnn() -> tuple[nn.Module, Tensor]:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 49, C)), torch.randn(N, 1, 28, 28)


def truth(model: nn.Module, x: Tensor, samples: int = 24) -> Tensor:
    """By every label of the first samples, float64 [P]."""
    model, total = copy.deepcopy(model).double(), 0.0
    params = list(model.parameters())
    for one in x[:samples].double():
        log_p = model(one[None]).log_softmax(1)[0]
        for c in range(C):
            grads = torch.autograd.grad(-log_p[c], params, retain_graph=True)
            total = total + log_p[c].exp().detach() * torch.cat([g.flatten() for g in grads]).square()
    assert isinstance(total, Tensor)
    return total


def backwards(model: nn.Module, x: Tensor) -> Call:
    params, cotangents = list(model.parameters()), torch.randn(C - 1, N, C)

    def call() -> None:
        outputs = model(x)
        for k, cotangent in enumerate(cotangents):
            torch.autograd.grad(outputs, params, cotangent, retain_graph=k < C - 2)

    return call


def steps(model: nn.Module, x: Tensor, y: Tensor) -> Call:
    params = list(model.parameters())

    def call() -> None:
        for _ in range(C - 1):
            torch.autograd.grad(nn.functional.cross_entropy(model(x), y, reduction="sum"), params)

    return call


def ours(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    return lambda: infotorch.fisher(infotorch.Task(model), (x, y), structure="diagonal").diag()


def nngeometry(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatDiag

    return lambda: FIM(model, (x, y), PMatDiag).data * len(x)


def backpack(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from backpack import backpack as extended
    from backpack import extend
    from backpack.extensions import DiagGGNExact

    model, loss = extend(copy.deepcopy(model)), extend(nn.CrossEntropyLoss(reduction="sum"))

    def call() -> Tensor:
        with extended(DiagGGNExact()):
            loss(model(x), y).backward()
        return torch.cat([p.diag_ggn_exact.flatten() for p in model.parameters()])

    return call


def laplace(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from laplace.curvature import BackPackGGN

    backend = BackPackGGN(copy.deepcopy(model), "classification")
    return lambda: backend.diag(x, y)[1]


RIVALS = {"nngeometry": nngeometry, "backpack": backpack, "laplace": laplace}


def compare(name: str, model: nn.Module, x: Tensor) -> None:
    model, y = model.eval(), torch.randint(C, (N,))
    diagonals = {"infotorch": ours} | {key: make for key, make in RIVALS.items() if util.find_spec(key)}
    expected, wrong = truth(model, x), {}
    for key, make in diagonals.items():
        error = float((make(model, x[:24], y[:24])().double() - expected).norm() / expected.norm())
        if not error <= RTOL:
            wrong[key] = error
    assert "infotorch" not in wrong, wrong
    racing = {key: make(model, x, y) for key, make in diagonals.items() if key not in wrong}
    calls = {**racing, "backwards": backwards(model, x), "steps": steps(model, x, y)}
    times: dict[str, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    order, end = random.Random(0), time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times["infotorch"]) < 5:
        for key in order.sample(list(calls), len(calls)):
            start = time.perf_counter()
            calls[key]()
            times[key].append(time.perf_counter() - start)
    median = {key: statistics.median(each) for key, each in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["infotorch"], times["backwards"], strict=True))
    print(f"{name}: exact diagonal in {ratio:.2f} times what {C - 1} backward passes take", flush=True)
    for key, seconds in sorted(median.items(), key=lambda item: item[1]):
        print(f"  {key:12s} {1e3 * seconds:9.1f} ms = {seconds / median['infotorch']:6.2f} of ours", flush=True)
    append(
        RESULTS, f"diagonal, {name}", {"N": N, "C": C, "P": sum(p.numel() for p in model.parameters())},
        {"median_seconds": median, "seconds": times, "ratio_to_backwards": ratio, "disagree": wrong},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    for make in (mlp, cnn):
        compare(make.__name__, *make())


if __name__ == "__main__":
    main()
