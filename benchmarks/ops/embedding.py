"""Ops on an embedding of 30,000 rows, whose inputs are indices. Run: python -m benchmarks.ops.embedding."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness import compare, summary
from benchmarks.layers import Layer
from infotorch import _C, ops

N, T, I, O = 8, 128, 30_000, 256
Calls = tuple[Callable[[], Tensor], dict[str, Callable[[], Tensor]], float]  # ours, baselines, bytes


def pair() -> tuple[Tensor, Tensor]:
    """(ids [N, T] of which common words repeat, b [N, T, O])."""
    rng = torch.Generator().manual_seed(0)
    ids = (torch.rand(N, T, generator=rng) ** 4 * I).long()
    return ids, torch.randn(N, T, O, generator=rng)


def materialized(ids: Tensor, b: Tensor) -> Tensor:
    """G [N, I, O], transposed as an embedding's weight lies."""
    flat = (ids + I * torch.arange(N)[:, None]).flatten()
    return torch.zeros(N * I, O).index_add_(0, flat, b.flatten(0, 1)).reshape(N, I, O)


def looked_up(ids: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(sample [U], row [U], sums [U, O]) of the rows of each G that are not zero."""
    flat, inverse = torch.unique(ids + I * torch.arange(N)[:, None], return_inverse=True)
    sums = torch.zeros(len(flat), O).index_add_(0, inverse.flatten(), b.flatten(0, 1))
    return flat // I, flat % I, sums


def norms(ids: Tensor, b: Tensor) -> Calls:
    def by_rows() -> Tensor:
        sample, _, sums = looked_up(ids, b)
        return torch.zeros(N).index_add_(0, sample, sums.square().sum(1))

    baselines = {
        "rows that were looked up": by_rows,
        "equal positions": lambda: ((ids[:, :, None] == ids[:, None]) * torch.bmm(b, b.mT)).sum((1, 2)),
    }
    return lambda: ops.norms(ids, b, in_features=I), baselines, b.nbytes


def gram(ids: Tensor, b: Tensor) -> Calls:
    def by_positions() -> Tensor:
        flat, rows = ids.flatten(), b.flatten(0, 1)
        return ((flat[:, None] == flat) * (rows @ rows.mT)).reshape(N, T, N, T).sum((1, 3))

    def by_product() -> Tensor:
        g = materialized(ids, b).flatten(1)
        return g @ g.mT

    return lambda: ops.gram(ids, b, in_features=I), {"equal positions": by_positions, "dense": by_product}, b.nbytes


def grads(ids: Tensor, b: Tensor) -> Calls:
    out, other = torch.empty(N, O, I), torch.empty(N, I, O)
    flat = (ids + I * torch.arange(N)[:, None]).flatten()

    def by_scatter() -> Tensor:
        out.zero_()
        return out.scatter_add_(2, ids[:, None].expand(N, O, T), b.mT)

    def by_rows() -> Tensor:
        other.zero_().view(N * I, O).index_add_(0, flat, b.flatten(0, 1))
        return other.mT

    baselines = {"scatter_add out=": by_scatter, "index_add out=, transposed": by_rows}
    return lambda: ops.grads(ids, b, in_features=I, out=out), baselines, b.nbytes + out.nbytes


def vjp(ids: Tensor, b: Tensor) -> Calls:
    w = torch.linspace(-1, 1, N)

    def by_rows() -> Tensor:
        scaled = (b * w[:, None, None]).flatten(0, 1)
        return torch.zeros(I, O).index_add_(0, ids.flatten(), scaled).mT

    return lambda: ops.vjp(ids, b, w, in_features=I), {"index_add": by_rows}, b.nbytes + 4 * I * O


def jvp(ids: Tensor, b: Tensor) -> Calls:
    v = torch.randn(O, I, generator=torch.Generator().manual_seed(1))
    rows = v.mT.contiguous()  # as an embedding's weight lies, which its user would hold

    def by_rows() -> Tensor:
        return (rows[ids] * b).sum((1, 2))

    baselines = {"rows that were looked up": by_rows, "columns": lambda: (v[:, ids] * b.permute(2, 0, 1)).sum((0, 2))}
    return lambda: ops.jvp(ids, b, rows.mT, in_features=I), baselines, 2 * b.nbytes


def fisher(ids: Tensor, b: Tensor) -> Calls:
    out = torch.empty(O, I)

    def by_rows() -> Tensor:
        _, row, sums = looked_up(ids, b)
        return out.copy_(torch.zeros(I, O).index_add_(0, row, sums.square_()).mT)

    baselines = {
        "rows that were looked up": by_rows,
        "dense": lambda: torch.sum(materialized(ids, b).square_(), 0).mT,
    }
    return lambda: ops.fisher(ids, b, in_features=I, out=out), baselines, b.nbytes + out.nbytes


def project(ids: Tensor, b: Tensor) -> Calls:
    k = 4096
    words = torch.from_numpy(_C.sketch_words(3, "", 0, 0, 2 * I * O).astype("int64"))
    bucket, sign = (words[0::2] * k >> 32).view(O, I), (1.0 - 2.0 * (words[1::2] % 2)).view(O, I)
    bucket_rows, sign_rows = bucket.mT.contiguous(), sign.mT.contiguous()  # [I, O], as an embedding's weight lies

    def by_rows() -> Tensor:
        added = (sign_rows[ids] * b).view(N, T * O)
        return torch.zeros(N, k).scatter_add_(1, bucket_rows[ids].view(N, T * O), added)

    baselines = {"scatter_add of rows that were looked up": by_rows}
    return lambda: ops.project(ids, b, k=k, seed=3, in_features=I), baselines, b.nbytes + 4 * N * k


OPS = [norms, gram, grads, vjp, jvp, fisher, project]


def main() -> None:
    ids, b = pair()
    layer = Layer(name="embedding", N=N, T=T, I=I, O=O)
    speedups = []
    for op in OPS:
        ours, baselines, moved = op(ids, b)
        speedups.append(compare(op.__name__, layer, ours, baselines, work=0, moved=moved))
    summary("all", speedups)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
