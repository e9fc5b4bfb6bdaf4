"""jvp with one direction and with ten against what a PyTorch user would write. Run: python -m benchmarks.ops.jvp."""

import torch

from benchmarks.harness import compare, summary
from benchmarks.layers import GOALS, MORE, Layer
from infotorch.ops import jvp


def race(layer: Layer, K: int = 1) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    v = layer.random(K, O, I)
    baselines = {
        "matmul of a, mul, sum": lambda: torch.stack([(a @ v_k.mT * b).sum((1, 2)) for v_k in v], 1),
        "matmul of b, mul, sum": lambda: torch.stack([(b @ v_k * a).sum((1, 2)) for v_k in v], 1),
        "bmm, matmul": lambda: torch.bmm(b.mT, a).flatten(1) @ v.flatten(1).mT,
        "einsum": lambda: torch.einsum("nto,nti,koi->nk", b, a, v),
    }
    work = N * min(K * T, T + K) * I * O
    moved = layer.pair_bytes + K * I * O * layer.dtype.itemsize
    return compare("jvp", layer, lambda: jvp(a, b, v), baselines, work=work, moved=moved, K=K)


def main() -> None:
    summary("jvp", [race(layer, K) for K in (1, 10) for layer in GOALS])
    for layer in MORE:
        race(layer)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
