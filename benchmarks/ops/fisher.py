"""fisher against what a PyTorch user would write. Run: python -m benchmarks.ops.fisher."""

import torch
from torch import Tensor

from benchmarks.harness import compare, summary
from benchmarks.layers import GOALS, MORE, Layer
from infotorch.ops import fisher

LARGEST = 1 << 13  # numbers of one gradient up to which the full matrix is raced: it squares them


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    baselines = {
        "bmm, square, sum": lambda: torch.bmm(b.mT, a).square_().sum(0),
        "bmm transposed, square, sum": lambda: torch.bmm(a.mT, b).square_().sum(0).mT,
        "bmm, vector_norm": lambda: torch.linalg.vector_norm(torch.bmm(b.mT, a), dim=0).square(),
        "bmm, einsum": lambda: (lambda g: torch.einsum("noi,noi->oi", g, g))(torch.bmm(b.mT, a)),
    }
    if T == 1:
        baselines["matmul of squares"] = lambda: b[:, 0].square().mT @ a[:, 0].square()
    moved = layer.pair_bytes + 4 * I * O
    work = N * T * I * O
    return compare("fisher", layer, lambda: fisher(a, b), baselines, work=work, moved=moved)


def full(layer: Layer) -> float:
    """Into a result that is there already."""
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    out = a.new_empty(O * I, O * I)

    def of(g: Tensor) -> Tensor:
        return torch.mm(g.mT, g, out=out)

    baselines = {"bmm, mm out=": lambda: of(torch.bmm(b.mT, a).flatten(1))}
    if T == 1:
        baselines["mul, mm out="] = lambda: of((b.mT * a).flatten(1))
    moved = layer.pair_bytes + 4 * (I * O) ** 2
    work = N * T * I * O + N * (I * O) ** 2 / 2
    ours = lambda: fisher(a, b, form="full", out=out)  # noqa: E731  (a name for one argument)
    return compare("fisher full", layer, ours, baselines, work=work, moved=moved)


def main() -> None:
    summary("fisher", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("fisher full", [full(layer) for layer in GOALS + MORE if layer.I * layer.O <= LARGEST])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
