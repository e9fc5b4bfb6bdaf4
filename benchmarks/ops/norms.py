"""norms against what a PyTorch user would write. Run: python -m benchmarks.ops.norms."""

import torch

from benchmarks.harness import compare, summary
from benchmarks.ops.layers import GOALS, MORE, Layer
from infotorch.ops import norms


def race(layer: Layer) -> float:
    a, b = layer.pair()
    T, I, O = layer.T, layer.I, layer.O
    baselines = {
        "bmm, square, sum": lambda: torch.bmm(b.mT, a).square().sum((1, 2)),
        "bmm transposed, square, sum": lambda: torch.bmm(a.mT, b).square().sum((1, 2)),
        "bmm, vector_norm": lambda: torch.linalg.vector_norm(torch.bmm(b.mT, a), dim=(1, 2)).square(),
        "bmm, bmm, mul, sum": lambda: (torch.bmm(a, a.mT) * torch.bmm(b, b.mT)).sum((1, 2)),
    }
    if T == 1:
        baselines["squared norms"] = lambda: a.square().sum((1, 2)) * b.square().sum((1, 2))
    work = layer.N * min(T * I * O, T * (T + 1) / 2 * (I + O))
    moved = layer.pair_bytes
    return compare(
        "norms", layer.name, layer.sizes, lambda: norms(a, b), baselines, work=work, moved=moved, dtype=layer.dtype
    )


def main() -> None:
    summary("norms", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
