"""The kernel against what torch.func gives: Jacobians by vmap(jacrev), contracted in float64.

Run with ``python -m benchmarks.blocks.kernel``. Both answers are compared before either is timed; then they take turns.
"""

import statistics

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from benchmarks.record import append
from benchmarks.unique_information.speed import interleaved
from infotorch import Task, ntk

CASES = {
    "mlp 64-128-10, N=500": lambda: (nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10)), (500, 64)),
    "cnn 3x32x32 to 10, N=64": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        ),
        (64, 3, 32, 32),
    ),
}


def by_jacobians(model: nn.Module, x: Tensor, chunk: int = 32) -> Tensor:
    """K [N, C, N, C] from Jacobians of all samples, one parameter at a time."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(params: dict[str, Tensor], x_n: Tensor) -> Tensor:
        return functional_call(model, params, (x_n[None],))[0]

    jac = vmap(jacrev(outputs), (None, 0), chunk_size=chunk)(params, x)  # {name: [N, C, *shape]}
    N, C = next(iter(jac.values())).shape[:2]
    total = torch.zeros(N * C, N * C, dtype=torch.float64)
    for J in jac.values():
        rows = J.double().reshape(N * C, -1)
        total.addmm_(rows, rows.mT)
    return total.view(N, C, N, C)


def compare(name: str, model: nn.Module, x: Tensor, repeats: int = 5) -> None:
    """Check that both agree, time them in turns, print and append a line."""
    task = Task(model.eval())
    calls = {"ntk": lambda: ntk(task, x).values, "vmap(jacrev)": lambda: by_jacobians(model, x)}
    mine, theirs = (call() for call in calls.values())
    error = float((mine - theirs).norm() / theirs.norm())
    assert error < 1e-5, f"{name}: relative difference {error:.1e}"
    times = interleaved(calls, repeats)
    medians = {way: statistics.median(each) for way, each in times.items()}
    ratio = medians["vmap(jacrev)"] / medians["ntk"]
    append("neural tangent kernel", {"case": name}, {"seconds": times, "median": medians, "error": error})
    print(f"{name}: {medians['ntk']:.3f} s, vmap(jacrev) {medians['vmap(jacrev)']:.3f} s = {ratio:.2f}x")


def main() -> None:
    """Every case at the scale of the demo."""
    for name, make in CASES.items():
        torch.manual_seed(0)
        model, shape = make()
        compare(name, model, torch.randn(shape))


if __name__ == "__main__":
    main()
