"""project against sketches whose random numbers are stored. Run: python -m benchmarks.ops.project."""

import math

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from benchmarks.harness import compare, summary
from benchmarks.layers import GOALS, MORE, Layer
from benchmarks.meter import Call
from infotorch import _C
from infotorch.ops import project
from infotorch.ops.reference import factors, normals

K, SEED = 4096, 3
MOST = 2**31  # bytes of a stored matrix


def stored(layer: Layer) -> tuple[Tensor, Tensor]:
    """Bucket and sign of every element, [O I] each."""
    words = torch.from_numpy(_C.sketch_words(SEED, "", 0, 0, 2 * layer.I * layer.O).astype("int64"))
    return (words[0::2] * K >> 32).to(layer.device), (1.0 - 2.0 * (words[1::2] % 2)).to(layer.device)


def race(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    bucket, sign = stored(layer)
    place = torch.arange(I * O, device=a.device)
    rows = torch.sparse_coo_tensor(torch.stack([bucket, place]), sign, (K, I * O)).to_sparse_csr()
    order = bucket.argsort(stable=True)
    starts = torch.searchsorted(bucket[order], torch.arange(K, device=a.device))
    signs_in_order = sign[order]
    g = a.new_empty(N, O, I)  # written again and again: fresh memory would cost more than any of the sketches
    g_t = a.new_empty(O, I, N)

    def formed() -> Tensor:  # [N, O I]
        return (torch.mul(b.mT, a, out=g) if T == 1 else torch.bmm(b.mT, a, out=g)).view(N, -1).float()

    def transposed() -> Tensor:  # [O I, N]
        if T > 1:
            return formed().T.contiguous()
        return torch.mul(b[:, 0].T.contiguous()[:, None], a[:, 0].T.contiguous(), out=g_t).view(-1, N).float()

    def bag() -> Tensor:
        return embedding_bag(order, transposed(), starts, mode="sum", per_sample_weights=signs_in_order).T

    baselines: dict[str, Call] = {
        "index_add": lambda: torch.zeros(N, K, device=a.device).index_add_(1, bucket, formed() * sign),
        "index_add of rows": lambda: (
            torch.zeros(K, N, device=a.device).index_add_(0, bucket, transposed() * sign[:, None]).T
        ),
        "sparse product": lambda: (rows @ transposed()).T,
        "embedding_bag": bag,
    }
    held = {"buckets and signs": 12 * I * O, "sparse": 12 * I * O, "bag": 12 * I * O, "dense": 4 * I * O * K}
    if held["dense"] <= MOST:
        matrix = torch.zeros(I * O, K, device=a.device)
        matrix[place, bucket] = sign
        baselines["dense matrix"] = lambda: formed() @ matrix
    gradients = 4 * N * I * O
    print(
        f"       {layer.name}: stored outside of the calls, gradients {gradients / 2**20:.1f} MiB and "
        + ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in held.items()),
        flush=True,
    )
    # G has to be formed and each of its elements added once; inputs are read and sketches written.
    work, moved = N * (T + 1) * I * O, layer.pair_bytes + 4 * N * K
    return compare("project", layer, lambda: project(a, b, k=K, seed=SEED), baselines, work=work, moved=moved, k=K)


def race_kron(layer: Layer) -> float:
    a, b = layer.pair()
    N, T, I, O = layer.N, layer.T, layer.I, layer.O
    k_O, k_I = factors(K, O, I)
    r_O = normals(SEED, "", 2, O * k_O).reshape(O, k_O).to(b) / math.sqrt(K)
    r_I = normals(SEED, "", 1, I * k_I).reshape(I, k_I).to(a)
    baselines: dict[str, Call] = {"stored factors": lambda: torch.bmm((b @ r_O).mT, a @ r_I).flatten(1)}
    work, moved = N * T * (I * k_I + O * k_O + K), layer.pair_bytes + 4 * N * K
    ours = lambda: project(a, b, k=K, seed=SEED, kind="kron")  # noqa: E731  (a name for one argument)
    return compare("project kron", layer, ours, baselines, work=work, moved=moved, k_O=k_O, k_I=k_I)


def main() -> None:
    summary("project", [race(layer) for layer in GOALS])
    for layer in MORE:
        race(layer)
    summary("project kron", [race_kron(layer) for layer in (*GOALS, *MORE) if layer.I * layer.O > K])


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
