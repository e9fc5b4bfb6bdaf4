"""Wide layers by every op, in a process of its own.

``INFOTORCH_MKL=0 python -m tests.ops.wide`` multiplies by infotorch's tiles, and ``INFOTORCH_MKL=1`` by torch's MKL,
where torch has it; which of them an op takes otherwise depends on the processor. ``values`` leaves out what bits depend
on: MKL promises nothing about them where it is not the faster one.
"""

import sys
from functools import partial

import torch

from infotorch import ops
from infotorch.ops.project import add_projections
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases
from tests.ops.cases import WAYS, parts

# (N, T, I, O): of one tile, of several across and down, of more columns than rows and of fewer, of more terms than are
# summed up at once, of one position, of many samples.
SHAPES = [(2, 20, 300, 150), (3, 140, 900, 70), (2, 17, 70, 500), (2, 130, 400, 500), (1, 5000, 100, 90)]
SHAPES += [(40, 1, 512, 96), (300, 16, 96, 96), (2, 24, 257, 1024), (2, 24, 1024, 257)]
SKETCHES = [("project", {"k": k, "seed": 3, "kind": kind}) for k, kind in [(64, "sjlt"), (64, "kron"), (4096, "kron")]]


def lying(a: torch.Tensor, b: torch.Tensor):
    """The same pair as it is, and with rows of both apart; a's samples all one; b transposed."""
    apart = [torch.nn.functional.pad(x, (2, 3, 1, 0))[:, 1:, 2:-3] for x in (a, b)]
    return [(a, b), tuple(apart), (a[:1].expand(a.shape), b), (a, b.mT.contiguous().mT)]


def calls(shape, a, b, bias):
    """Every op of the pair, with its truth."""
    for op, way in [*WAYS, *SKETCHES]:
        if not cases.is_too_large(way, shape) and (op != "project" or way["k"] <= shape[2] * shape[3]):
            yield partial(cases.run, op, bias=bias, **way), cases.truth(op, a, b, bias=bias, **way)


def check(shape, dtype, bias):
    torch.set_num_threads(1)
    a, b = cases.make_pair(*shape, torch.Generator().manual_seed(0), dtype)
    for a_here, b_here in lying(a, b) if dtype == torch.float32 else [(a, b)]:
        for run, truth in calls(shape, a_here, b_here, bias):
            for x, y in zip(parts(run(a_here, b_here)), parts(truth), strict=True):
                assert_same(x, y, dtype)


def check_threads(shape):
    """All bits of all results on one thread and on three."""
    a, b = cases.make_pair(*shape, torch.Generator().manual_seed(0), torch.float32)
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append([x for run, _ in calls(shape, a, b, True) for x in parts(run(a, b))])
    for x, y in zip(*results, strict=True):
        assert_same_bits(x, y)


def check_batches(T, I, O, dtype):
    """The bits of a sample's sketch: whatever its batch, place, address and layout, and whatever its seeds."""
    a, b = cases.make_seeded_pair(70, 3, T, I, O, torch.Generator().manual_seed(0), dtype)
    zeros, seeded = torch.zeros(2, 70, 3, 64, dtype=cases.result_dtype(b))
    add_projections(seeded, a, b, seed=3)
    for kind in ("sjlt", "kron"):
        sketch = partial(ops.project, k=64, seed=3, kind=kind)
        truth = sketch(a, b[:, 0])
        for n in (0, 1, 37, 69):
            at = slice(n, n + 1)
            odd = torch.cat([a.new_zeros(1), a[at].flatten()])[1:].view(1, T, I)
            longer = torch.cat([a, a], 1)[at, :T]
            turned, b_turned = (x[at].mT.contiguous().mT for x in (a, b[:, 0]))
            for one in (a[at], a[at].clone(), odd, longer, turned):
                assert_same_bits(sketch(one, b[at, 0].contiguous()), truth[at])
            assert_same_bits(sketch(turned, b_turned), truth[at])
        assert_same_bits(sketch(a[5:68], b[5:68, 0]), truth[5:68].contiguous())
    for first, last in [(0, 1), (1, 3)]:
        here = add_projections(zeros[:2, first:last].clone(), a[:2], b[:2, first:last], seed=3)
        assert_same_bits(here, seeded[:2, first:last].contiguous())


def check_neighbours():
    """What isn't a number stays in its sample."""
    a, b = cases.make_pair(3, 20, 300, 150, torch.Generator().manual_seed(0), torch.float32)
    b[1, 3, 5] = torch.nan
    for got in (ops.grads(a, b), ops.norms(a, b, method="materialize"), ops.jvp(a, b, torch.ones(150, 300))):
        assert got[1].isnan().any() and not got[[0, 2]].isnan().any()


def main(bits: bool):
    for k, shape in enumerate(SHAPES):
        check(shape, torch.float32, bias=k % 2 == 0)
        check(shape, (torch.bfloat16, torch.float64, torch.float16)[k % 3], bias=k % 2 == 1)
    check_neighbours()
    for shape in SHAPES if bits else []:
        check_threads(shape)
    for shape in [(1, 300, 200), (16, 96, 100), (24, 31, 1000), (5, 5000, 40)] if bits else []:
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            check_batches(*shape, dtype)


if __name__ == "__main__":
    main(bits=sys.argv[1:] != ["values"])
