"""Every route gives the same part of the kernel; which is taken follows from shapes alone."""

from dataclasses import replace

import pytest
import torch

from infotorch.blocks.products import Formed, LookedUp, Outer, Positions, route_of
from infotorch.capture import LayerPair
from tests.laws import assert_same


def pair(N, T, I, O, K, rng, *, groups=1, bias=True, one_hot=False, dtype=torch.float64):
    a = torch.randn(N * groups, T, I, dtype=dtype, generator=rng)
    if one_hot:
        a = torch.randint(0, I, (N * groups, T), generator=rng)
    b = torch.randn(N * groups, K, T, O, dtype=dtype, generator=rng)
    shapes = {"w": torch.Size([groups * O, I]), "b": torch.Size([groups * O])}
    return LayerPair(
        name="",
        a=a,
        b=b,
        shapes=shapes,
        groups=groups,
        bias=bias,
        in_features=I if one_hot else None,
        transposed=one_hot,
    )


def truth(left, right):
    """[N, K, M, K] from gradients written out."""
    G, H = (p.gradients(p.bias).double() for p in (left, right))
    return torch.einsum("nkoi,mloi->nkml", G, H)


CASES = [
    dict(T=1, I=5, O=3, K=2),
    dict(T=1, I=5, O=3, K=2, one_hot=True),
    dict(T=4, I=5, O=3, K=2),
    dict(T=4, I=5, O=3, K=2, bias=False),
    dict(T=4, I=5, O=3, K=1, groups=2),
    dict(T=1, I=5, O=3, K=2, groups=3),
    dict(T=4, I=7, O=3, K=2, one_hot=True),
    dict(T=4, I=7, O=3, K=2, groups=2, one_hot=True),
    dict(T=1100, I=2, O=2, K=1),
]


ROUTES = [Formed(1), Formed(2), Formed(100), Positions()]
ONE_POSITION = [case for case in CASES if case["T"] == 1 and "groups" not in case]


@pytest.mark.parametrize(
    "route, case",
    [(route, case) for route in ROUTES for case in CASES]
    + [(Outer(), case) for case in ONE_POSITION]
    + [(LookedUp(), case) for case in CASES if "one_hot" in case],
)
def test_routes_agree_with_the_gradients_written_out(route, case, rng):
    rows = [pair(N, rng=rng, **case) for N in (2, 3)]
    cols = [pair(N, rng=rng, **case) for N in (3, 1)]
    K = torch.zeros(5, case["K"], 4, case["K"], dtype=torch.float64)
    route.add(K, rows, cols, False)
    whole = torch.cat([torch.cat([truth(left, right) for right in cols], 2) for left in rows])
    assert_same(K, whole)

    K = torch.zeros(5, case["K"], 5, case["K"], dtype=torch.float64)
    route.add(K, rows, rows, True)
    R = 5 * case["K"]
    whole = torch.cat([torch.cat([truth(left, right) for right in rows], 2) for left in rows])
    assert_same(K.view(R, R).tril(), whole.view(R, R).tril())


def test_a_route_adds_to_what_is_there(rng):
    block = pair(2, 3, 4, 2, 2, rng)
    K = torch.ones(2, 2, 2, 2, dtype=torch.float64)
    Formed(1).add(K, [block], [block], False)
    assert_same(K, truth(block, block) + 1)


def test_route_follows_the_operations(rng):
    """Few positions of a wide layer are compared, many are summed first, one is never repeated."""
    assert isinstance(route_of(pair(1, 1, 64, 64, 10, rng), 5000, 5000), Outer)
    assert isinstance(route_of(pair(1, 4, 512, 512, 10, rng), 5000, 5000), Positions)
    assert isinstance(route_of(pair(1, 64, 144, 32, 10, rng), 640, 640), Formed)
    assert isinstance(route_of(pair(1, 1, 9, 1, 10, rng, groups=8), 640, 640), Formed | Positions)
    assert isinstance(route_of(pair(1, 32, 30000, 8, 2, rng, one_hot=True), 640, 640), LookedUp)
    elsewhere = replace(pair(1, 32, 30000, 8, 2, rng, one_hot=True), b=torch.empty(1, 2, 32, 8, device="meta"))
    assert isinstance(route_of(elsewhere, 640, 640), Positions)
    assert isinstance(route_of(pair(1, 32, 100, 8, 2, rng, one_hot=True), 640, 640), Formed)


def test_formed_rows_are_bounded_however_many_samples(rng):
    route = route_of(pair(1, 64, 144, 32, 10, rng), 100_000, 100_000)
    assert route.step * 145 <= 1024 + 145


def test_half_of_a_symmetric_tile_is_left_alone(rng):
    """What lies above the diagonal strips is not computed."""
    block = pair(300, 3, 4, 2, 1, rng)
    K = torch.zeros(300, 1, 300, 1, dtype=torch.float64)
    Formed(2).add(K, [block], [block], True)
    assert not K.view(300, 300)[:128, 128:].any() and not K.view(300, 300)[128:256, 256:].any()
