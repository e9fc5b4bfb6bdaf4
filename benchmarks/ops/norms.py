"""norms against what a PyTorch user would write. Run: python -m benchmarks.ops.norms."""

import torch

from benchmarks.harness import Form, bind, compare, summary
from benchmarks.layers import GOALS, HALF, MORE, Layer
from infotorch.ops import norms

LARGEST = 1 << 32  # numbers of all gradients up to which forms that write them are raced


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    forms: dict[str, Form] = {"bmm, bmm, mul, sum": lambda a, b: (torch.bmm(a, a.mT) * torch.bmm(b, b.mT)).sum((1, 2))}
    if N * I * O <= LARGEST:
        forms["bmm, square, sum"] = lambda a, b: torch.bmm(b.mT, a).square().sum((1, 2))
        forms["bmm transposed, square, sum"] = lambda a, b: torch.bmm(a.mT, b).square().sum((1, 2))
        forms["bmm, vector_norm"] = lambda a, b: torch.linalg.vector_norm(torch.bmm(b.mT, a), dim=(1, 2)).square()
    if T == 1:
        forms["squared norms"] = lambda a, b: a.square().sum((1, 2)) * b.square().sum((1, 2))
    work = N * min(T * I * O, T * (T + 1) / 2 * (I + O))
    return compare("norms", layer, lambda: norms(a, b), bind(forms, a, b), work=work, moved=layer.pair_bytes + 4 * N)


def main() -> None:
    summary("norms", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("norms bfloat16", [race(layer) for layer in HALF])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
