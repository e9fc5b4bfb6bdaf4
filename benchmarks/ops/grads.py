"""grads, into a result that is there already, against bmm and einsum. Run: python -m benchmarks.ops.grads."""

import torch

from benchmarks.harness import bind, compare, summary
from benchmarks.layers import GOALS, HALF, MORE, Layer
from infotorch.ops import grads


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    outs = {dtype: a.new_empty(N, O, I, dtype=dtype) for dtype in {layer.dtype, torch.float32}}  # torch's, and ours
    forms = {
        "bmm out=": lambda a, b: torch.bmm(b.mT, a, out=outs[a.dtype]),
        "einsum": lambda a, b: torch.einsum("nto,nti->noi", b, a),
    }
    if T == 1:
        forms["mul out="] = lambda a, b: torch.mul(b.mT, a, out=outs[a.dtype])
    moved = layer.pair_bytes + 4 * N * I * O
    work = N * T * I * O
    ours = lambda: grads(a, b, out=outs[torch.float32])  # noqa: E731  (a name for one argument)
    return compare("grads", layer, ours, bind(forms, a, b), work=work, moved=moved)


def main() -> None:
    summary("grads", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("grads bfloat16", [race(layer) for layer in HALF])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
