"""Every op on an embedding of 30,000 rows, whose inputs are indices. Run: python -m benchmarks.ops.embedding."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness import compare, summary
from infotorch import ops

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


OPS = [norms, gram, grads, vjp]


def main() -> None:
    ids, b = pair()
    sizes = {"N": N, "T": T, "I": I, "O": O}
    speedups = []
    for op in OPS:
        ours, baselines, moved = op(ids, b)
        speedups.append(compare(op.__name__, "embedding", sizes, ours, baselines, work=0, moved=moved))
    summary("all", speedups)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
