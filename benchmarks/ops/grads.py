"""grads, into a result that is there already, against bmm and einsum. Run: python -m benchmarks.ops.grads."""

import torch

from benchmarks.harness import compare, summary
from benchmarks.ops.layers import GOALS, MORE, Layer
from infotorch.ops import grads


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    out = a.new_empty(N, O, I)
    baselines = {
        "bmm out=": lambda: torch.bmm(b.mT, a, out=out),
        "einsum": lambda: torch.einsum("nto,nti->noi", b, a),
    }
    if T == 1:
        baselines["mul out="] = lambda: torch.mul(b.mT, a, out=out)
    moved = layer.pair_bytes + 4 * N * I * O
    work = N * T * I * O
    return compare(
        "grads", layer.name, layer.sizes, lambda: grads(a, b, out=out), baselines,
        work=work, moved=moved, dtype=layer.dtype,
    )  # fmt: skip


def main() -> None:
    summary("grads", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
