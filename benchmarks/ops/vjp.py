"""vjp with one weighting and with ten against scaled products. Run: python -m benchmarks.ops.vjp."""

import torch

from benchmarks.harness import bind, compare, summary
from benchmarks.layers import GOALS, HALF, MORE, Layer
from infotorch.ops import vjp


def race(layer: Layer, K: int = 1) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    w = layer.random(K, N)
    forms = {
        "scale, matmul": lambda a, b: torch.stack(
            [(b * w_k[:, None, None]).flatten(0, 1).mT @ a.flatten(0, 1) for w_k in w.to(b.dtype)]
        ),
        "bmm, matmul": lambda a, b: (w.to(b.dtype) @ torch.bmm(b.mT, a).flatten(1)).reshape(K, O, I),
        "einsum": lambda a, b: torch.einsum("kn,nto,nti->koi", w.to(b.dtype), b, a),
    }
    work = N * min(K * T, T + K) * I * O
    moved = layer.pair_bytes + 4 * K * I * O
    return compare("vjp", layer, lambda: vjp(a, b, w), bind(forms, a, b), work=work, moved=moved, K=K)


def main() -> None:
    summary("vjp", [race(layer, K) for K in (1, 10) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("vjp bfloat16", [race(layer) for layer in HALF])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
