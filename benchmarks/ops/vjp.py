"""vjp with one weighting and with ten against scaled products. Run: python -m benchmarks.ops.vjp."""

import torch

from benchmarks.harness import compare, summary
from benchmarks.ops.layers import GOALS, MORE, Layer
from infotorch.ops import vjp


def race(layer: Layer, K: int = 1) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    w = layer.random(K, N)
    baselines = {
        "scale, matmul": lambda: torch.stack(
            [(b * w_k[:, None, None]).flatten(0, 1).mT @ a.flatten(0, 1) for w_k in w]
        ),
        "bmm, matmul": lambda: (w @ torch.bmm(b.mT, a).flatten(1)).reshape(K, O, I),
        "einsum": lambda: torch.einsum("kn,nto,nti->koi", w, b, a),
    }
    work = N * min(K * T, T + K) * I * O
    moved = layer.pair_bytes + 4 * K * I * O
    sizes = {"K": K, **layer.sizes}
    return compare("vjp", layer.name, sizes, lambda: vjp(a, b, w), baselines, work=work, moved=moved, dtype=layer.dtype)


def main() -> None:
    summary("vjp", [race(layer, K) for K in (1, 10) for layer in GOALS])
    for layer in MORE:
        race(layer)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
