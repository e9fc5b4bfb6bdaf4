"""kron against products of flattened rows. Run: python -m benchmarks.ops.kron."""

from typing import Literal

import torch
from torch import Tensor

from benchmarks.harness import compare, summary
from benchmarks.layers import GOALS, MORE, Layer
from infotorch.ops import kron


def moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x.mT @ x, y.mT @ y


def race(layer: Layer, split: Literal["expand", "reduce"] = "expand") -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    if split == "expand":
        baselines = {
            "matmuls of rows": lambda: moments(a.flatten(0, 1), b.flatten(0, 1)),
            "einsums": lambda: (torch.einsum("nti,ntj->ij", a, a), torch.einsum("nto,ntp->op", b, b)),
        }
    else:
        baselines = {
            "sums, matmuls": lambda: moments(a.sum(1), b.sum(1)),
            "einsums, matmuls": lambda: moments(torch.einsum("nti->ni", a), torch.einsum("nto->no", b)),
        }
    work = (N * T if split == "expand" else N) * (I * I + O * O) / 2
    moved = layer.pair_bytes + 4 * (I * I + O * O)
    return compare(f"kron {split}", layer, lambda: kron(a, b, split=split), baselines, work=work, moved=moved)


def main() -> None:
    summary("kron expand", [race(layer, "expand") for layer in GOALS])
    summary("kron reduce", [race(layer, "reduce") for layer in GOALS])
    for layer in MORE:
        race(layer)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
