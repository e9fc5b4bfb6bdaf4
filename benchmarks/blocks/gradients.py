"""The public functions on four nets, in units of a plain forward and backward of the same batch.

Run with ``python -m benchmarks.blocks.gradients [words of a row]``. Processor time, the minimum over rounds in which
all rows take turns with the plain pass.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.record import append
from infotorch import (
    Arena,
    Task,
    fisher,
    grad_gram,
    jvp,
    ntk,
    per_sample_grad_norms,
    per_sample_grads,
    sketch,
    vjp,
)
from infotorch.capture import capture

ROUNDS = 7
CLASSES = 10


class Residual(nn.Module):
    """Two 3x3 convolutions with GroupNorm around an identity, or a strided 1x1 convolution."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False),
            nn.GroupNorm(8, out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.GroupNorm(8, out),
        )
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(width, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu()


class Transformer(nn.Module):
    """Tokens through two blocks to the mean over positions."""

    def __init__(self, d: int = 128, T: int = 32, vocabulary: int = 1000) -> None:
        super().__init__()
        self.tokens, self.heads = nn.Embedding(vocabulary, d), 4
        self.blocks = nn.ModuleList(Block(d, self.heads) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.tokens(ids)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h).mean(1))


class Block(nn.Module):
    """Attention, then two Linears, each behind a LayerNorm."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, h: Tensor) -> Tensor:
        N, T, d = h.shape
        q, k, v = self.qkv(self.norm1(h)).view(N, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(N, T, d)
        h = h + self.out(mixed)
        return h + self.down(nn.functional.gelu(self.up(self.norm2(h))))


def convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 2), (64, 128, 2)):
        layers += [nn.Conv2d(i, o, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))


def resnet() -> nn.Module:
    first = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU()]
    blocks = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "mlp": (dense, lambda N: torch.randn(N, 784)),
    "cnn": (convolutions, lambda N: torch.randn(N, 3, 32, 32)),
    "resnet": (resnet, lambda N: torch.randn(N, 3, 32, 32)),
    "tfm": (Transformer, lambda N: torch.randint(0, 1000, (N, 32))),
}


def calls(task: Task, batch: tuple[Tensor, Tensor]) -> dict[str, Callable[[], object]]:
    arena = Arena()
    P = sum(p.numel() for p in task.parameters().values())
    V, u = torch.randn(16, P), torch.randn(len(batch[0]))
    return {
        "capture": lambda: capture(task, batch),
        "norms": lambda: per_sample_grad_norms(task, batch),
        "gram": lambda: grad_gram(task, batch),
        "grads": lambda: per_sample_grads(task, batch, out=arena),
        "vjp": lambda: vjp(task, batch, u),
        "jvp 1": lambda: jvp(task, batch, V[0]),
        "jvp 16": lambda: jvp(task, batch, V),
        "diagonal empirical": lambda: fisher(task, batch, structure="diagonal", labels="empirical"),
        "kfac empirical": lambda: fisher(task, batch, structure="kfac", labels="empirical"),
        "sketch kron": lambda: sketch(task, batch, dim=4096, seed=0, kind="kron"),
        "sketch sjlt": lambda: sketch(task, batch, dim=4096, seed=0),
        "outputs jvp 1": lambda: jvp(task, batch[0], V[0], seeds="logits"),
        "outputs jvp 16": lambda: jvp(task, batch[0], V, seeds="logits"),
        "ntk": lambda: ntk(task, batch[0]),
    }


def plain(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    model.zero_grad()
    nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum").backward()


def race(net: str, words: list[str]) -> None:
    torch.manual_seed(0)
    make, draw = NETS[net]
    model = make().eval()
    batch = draw(32), torch.randint(0, CLASSES, (32,))
    few = batch[0][:16], batch[1][:16]
    rows = {name: (call, 32) for name, call in calls(Task(model), batch).items()}
    rows |= {
        name: (call, 16)
        for name, call in calls(Task(model), few).items()
        if name in ("ntk", "sketch sjlt", "sketch kron")
    }
    rows = {name: row for name, row in rows.items() if not words or any(word in name for word in words)}
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        turns = {"plain 32": lambda: plain(model, batch), "plain 16": lambda: plain(model, few)}
        for name, call in (turns | {name: call for name, (call, _) in rows.items()}).items():
            start = time.process_time()
            call()
            best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    for name, (_, N) in rows.items():
        ratio = best[name] / best[f"plain {N}"]
        append("gradients-cpu.jsonl", name, {"net": net, "N": N}, {"seconds": best[name], "plain": ratio})
        print(f"{net:7} N={N} {name:20} {1e3 * best[name]:8.2f} ms  {ratio:6.2f} x of a plain pass", flush=True)


def main() -> None:
    """Every net, or those named among the words."""
    torch.set_num_threads(1)
    words = sys.argv[1:]
    nets = [net for net in NETS if net in words] or list(NETS)
    for net in nets:
        race(net, [word for word in words if word not in NETS])


if __name__ == "__main__":
    main()
