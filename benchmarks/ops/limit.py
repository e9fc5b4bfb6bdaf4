"""limit_gradient against the plain PyTorch form, forward and backward. Run: python -m benchmarks.ops.limit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import compare, summary
from benchmarks.meter import Call
from infotorch.train import limit_gradient, replace_gradient

BETA = 1.0


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Logits of both networks, and labels."""

    name: str
    N: int
    C: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    compiled: bool = False  # the plain form once more, as torch.compile makes it

    @property
    def sizes(self) -> dict[str, int]:
        return {"N": self.N, "C": self.C}

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """(logits [N, C], aux_logits [N, C], labels [N])."""
        rng = torch.Generator(self.device).manual_seed(0)
        size = (self.N, self.C)
        z, v = (torch.randn(size, generator=rng, device=self.device).to(self.dtype).requires_grad_() for _ in range(2))
        return z, v, torch.randint(self.C, (self.N,), generator=rng, device=self.device)


CASES = [
    Rows(name="10 classes", N=8192, C=10),
    Rows(name="1000 classes", N=4096, C=1000),
    Rows(name="a vocabulary", N=256, C=50257),
]
ON_GPU = [
    Rows(name="10 classes", N=1 << 21, C=10, device="cuda"),
    Rows(name="1000 classes", N=1 << 15, C=1000, device="cuda"),
    Rows(name="a vocabulary", N=1 << 10, C=50257, device="cuda"),
]


def plain(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """The squared form, written as in the paper."""
    t = F.one_hot(y, z.shape[1]).to(z.dtype)
    s, u = z.detach().softmax(1), v.softmax(1)
    g, mu = s - t, s - u
    loss = ((g - mu).pow(2).sum(1) + BETA * mu.pow(2).sum(1)).mean()
    replaced = replace_gradient(z, mu.detach() / len(z))
    return loss + F.cross_entropy(replaced, y) - F.cross_entropy(z.detach(), y)  # whose value is nothing


def step(loss: Callable[[Tensor, Tensor, Tensor], Tensor], *tensors: Tensor) -> Call:
    """The value of the loss and both gradients."""

    def run() -> tuple[Tensor, ...]:
        value = loss(*tensors)
        return value.detach()[None], *torch.autograd.grad(value, tensors[:2])

    return run


def race(rows: Rows) -> float:
    tensors = rows.tensors()
    baselines: dict[str, Call] = {"plain": step(plain, *tensors)}
    if rows.compiled:  # the loss alone: its way back can't be compiled along
        torch.compiler.reset()
        baselines["compiled: plain"] = step(torch.compile(plain, dynamic=False), *tensors)
    ours: Any = lambda z, v, y: limit_gradient(z, v, y, beta=BETA)  # noqa: E731  (a name for one argument)
    # Both logits are read once and both gradients written; these are scaled by 1/N on the way back.
    moved = 6 * rows.N * rows.C * rows.dtype.itemsize
    truth = step(plain, *(t.detach().double().requires_grad_() if t.is_floating_point() else t for t in tensors))
    return compare(
        "limit", replace(rows, compiled=False), step(ours, *tensors), baselines, work=0, moved=moved, truth=truth
    )


def main() -> None:
    cases = [replace(rows, compiled=True) for rows in CASES] + [replace(rows, dtype=torch.float64) for rows in CASES]
    summary("limit", [race(rows) for rows in cases])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
