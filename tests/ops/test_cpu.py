"""What holds for every op's kernels on the CPU: long sums stay exact, and memory is bounded."""

import pytest
import torch

from infotorch import ops
from infotorch.ops import reference
from tests.laws import assert_same
from tests.ops.cases import WAYS, parts

# (N, T, I, O) with many positions, many samples, and both.
LONG = [(1, 784, 3, 2), (2, 8192, 40, 30), (1, 16384, 3, 2), (100_000, 1, 3, 2), (20_000, 3, 40, 30)]
LONG += [(100_000, 2, 3, 2), (1_000_000, 1, 2, 2), (1_000_000, 2, 1, 1)]
# With equal samples and positions an op is N^p T^q times what it is of one.
POWERS = {"grads": (0, 1), "norms": (0, 2), "gram": (0, 2), "jvp": (0, 1), "vjp": (1, 1), "project": (0, 1)}
POWERS |= {"fisher": (1, 2), "expand": (1, 1), "reduce": (1, 2)}


def tenths(*size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full(size, 0.1, dtype=dtype)


@pytest.mark.parametrize("kind", ["dense", "bias", "indices"])
@pytest.mark.parametrize("shape", LONG, ids=str)
@pytest.mark.parametrize("op, way", WAYS, ids=str)
def test_long_sums_of_one_sign_stay_exact(op, way, shape, kind, dtype):
    """0.1 everywhere: errors of a running sum all have one sign, and would add up."""
    N, T, I, O = shape
    if op == "gram" and N > 2:
        pytest.skip("the result would have billions of numbers")
    if way.get("method") == "gram" and T > 10_000:
        pytest.skip("minutes of products")
    if way.get("form") == "full" and I > 3:
        pytest.skip("the result would have millions of numbers")
    bias, in_features = kind != "dense", 2 if kind == "indices" else None
    a = torch.ones(N, T, dtype=torch.int64) if in_features else tenths(N, T, I, dtype=dtype)
    b = tenths(N, T, O, dtype=dtype)
    size = (3, O, (in_features or I) + bias)
    args = {"vjp": [tenths(3, N, dtype=dtype)], "jvp": [tenths(*size, dtype=dtype)]}.get(op, [])
    options = {"bias": bias, "in_features": in_features} | way
    got = getattr(ops, op)(a, b, *args, **options)
    options.pop("method", None)
    one = getattr(reference, op)(a[:1, :1], b[:1, :1], *[x[:, :1] if op == "vjp" else x for x in args], **options)
    p, q = POWERS[way.get("split", op)]
    for x, x_one in zip(parts(got), parts(one), strict=True):
        assert_same(x, (x_one * float(N) ** p * float(T) ** q).expand(x.shape))
