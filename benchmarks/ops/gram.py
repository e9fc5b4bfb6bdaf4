"""gram of one set with itself against what a PyTorch user would write. Run: python -m benchmarks.ops.gram."""

import torch
from torch import Tensor

from benchmarks.harness import bind, compare, summary
from benchmarks.layers import GOALS, HALF, MORE, Layer
from infotorch.ops import gram


def materialized(a: Tensor, b: Tensor) -> Tensor:
    g = torch.bmm(b.mT, a).flatten(1)  # [N, O * I]
    return g @ g.mT


def positions(a: Tensor, b: Tensor) -> Tensor:
    N, T, _ = a.shape
    a, b = a.flatten(0, 1), b.flatten(0, 1)  # [N * T, I], [N * T, O]
    return ((a @ a.mT) * (b @ b.mT)).reshape(N, T, N, T).sum((1, 3))


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    forms = {"bmm, matmul": materialized, "bmm transposed, matmul": lambda a, b: materialized(b, a)}
    if N * T <= 4096:
        forms["matmul, matmul, mul, sum"] = positions
    if T == 1:
        forms["matmul, matmul, mul"] = lambda a, b: (a[:, 0] @ a[:, 0].mT) * (b[:, 0] @ b[:, 0].mT)
    pairs = N * (N + 1) / 2
    work = min((N * T + pairs) * I * O, pairs * T * T * (I + O))
    moved = layer.pair_bytes + 4 * N * N
    return compare("gram", layer, lambda: gram(a, b), bind(forms, a, b), work=work, moved=moved)


def main() -> None:
    summary("gram", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("gram bfloat16", [race(layer) for layer in HALF])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
