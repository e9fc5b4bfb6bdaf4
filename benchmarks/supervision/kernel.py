"""The kernel of all logits of 256 pictures against torch.func, in the settings of its NTK tutorial.

Run with ``python -m benchmarks.supervision.kernel``; INFOTORCH_DATA names the folder of mnist.npz. torch.func has
Jacobians contracted, ``vmap(jacrev)`` whole and in chunks, and the kernel-vector products of the tutorial's second
half. These take a pass a pair of pictures: they are left out where their time on 8 of them, times 32 squared, is ten
times that of the best way. All answers are compared before any is timed; then they take turns. Ours sums in float64,
torch.func's in the network's float32.
"""

import os
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from benchmarks.record import append
from benchmarks.unique_information.speed import interleaved
from infotorch import Task, ntk

N, C, FILE = 256, 10, "supervision-cpu.jsonl"
PAIRS = "kernel-vector products"


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Digits of MNIST, [N, 1, 28, 28] and their labels."""
    with np.load(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "mnist.npz") as file:
        x, y = torch.from_numpy(file["x_train"][:count]), torch.from_numpy(file["y_train"][:count])
    return x.float().view(count, 1, 28, 28) / 255, y.long()


def network() -> nn.Module:
    """A small convolutional network, 20,490 parameters."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)]
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, C)).eval()


def rivals(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Each maps pictures to K [n, C, n, C]."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, params, (x[None],))[0]

    def contraction(x: Tensor, chunk: int | None) -> Tensor:
        jac = vmap(jacrev(outputs), (None, 0), chunk_size=chunk)(params, x)
        rows = [J.flatten(0, 1).flatten(1) for J in jac.values()]
        total = rows[0] @ rows[0].mT
        for J in rows[1:]:
            total.addmm_(J, J.mT)
        return total.view(len(x), C, len(x), C)

    def products(x: Tensor) -> Tensor:
        def pair(x1: Tensor, x2: Tensor) -> Tensor:
            _, pull = vjp(lambda params: outputs(params, x1), params)

            def product(v: Tensor) -> Tensor:
                return jvp(lambda params: outputs(params, x2), (params,), pull(v))[1]

            return vmap(product)(torch.eye(C))

        return vmap(vmap(pair, (None, 0)), (0, None))(x, x).transpose(1, 2)

    return {
        "jacobians, whole": lambda x: contraction(x, None),
        "jacobians, chunks of 64": lambda x: contraction(x, 64),
        "jacobians, chunks of 16": lambda x: contraction(x, 16),
        PAIRS: products,
    }


def main() -> None:
    """Compare, time, print and append a line."""
    model, (x, _) = network(), pictures(N)
    task, ways = Task(model), rivals(model)
    few, trial = x[:8], {}
    truth = ntk(Task(network().double()), few.double()).values
    for name, way in ways.items():
        way(few)
        start = time.perf_counter()
        error = float((way(few) - truth).norm() / truth.norm())
        trial[name] = time.perf_counter() - start
        assert error < 1e-5, f"{name}: relative difference {error:.1e}"
    growth = N // len(few)
    expected = {name: seconds * (growth**2 if name == PAIRS else growth) for name, seconds in trial.items()}
    left_out = [PAIRS] if expected[PAIRS] > 10 * min(expected.values()) else []
    calls: dict[str, Callable[[], Tensor]] = {"ntk": lambda: ntk(task, x).values}
    calls |= {name: (lambda way=way: way(x)) for name, way in ways.items() if name not in left_out}
    answers = {name: call() for name, call in calls.items()}
    for name, answer in answers.items():
        error = float((answer - answers["ntk"]).norm() / answers["ntk"].norm())
        assert error < 1e-5, f"{name}: relative difference {error:.1e}"
    times = interleaved(calls, 3, warm_ups=0)
    medians = {name: statistics.median(each) for name, each in times.items()}
    best = min((name for name in medians if name != "ntk"), key=medians.__getitem__)
    ratio = medians[best] / medians["ntk"]
    case = {
        "case": f"cnn 1x28x28 to {C}, MNIST, N={N}, all logits",
        "parameters": sum(map(Tensor.numel, model.parameters())),
    }
    measured = {
        "seconds": times,
        "median": medians,
        "best": best,
        "ratio": ratio,
        "left_out": {n: expected[n] for n in left_out},
    }
    append(FILE, "kernel of all logits", case, measured)
    print(f"ntk {medians['ntk']:.3f} s; best of torch.func: {best}, {medians[best]:.3f} s = {ratio:.2f}x")


if __name__ == "__main__":
    main()
