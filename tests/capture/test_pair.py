"""A pair means what its docstring says, in every form that a and b may have."""

import pytest
import torch

from infotorch import ops
from infotorch.capture import LayerPair
from tests.laws import assert_same


def make(rng, *, groups=1, seeds=None, bias=True, form="dense"):
    N, T, I, O = 3, 4, 6, 2
    a = torch.randn(N * groups, T, I, dtype=torch.float64, generator=rng)
    options = {}
    if form == "one-hot":
        a, options = torch.randint(0, I, (N * groups, T), generator=rng), {"in_features": I}
    elif form == "strided":  # T = (2, 2) patches of size (2, 3) that overlap
        base = torch.randn(N * groups, 3, 4, dtype=torch.float64, generator=rng)
        a, options = base.as_strided((N * groups, 2, 2, 2, 3), (12, 4, 1, 4, 1)), {"t_dims": 2}
    b = torch.randn(N * groups, *([seeds] if seeds else []), T, O, dtype=torch.float64, generator=rng)
    shapes = {"w": torch.Size([groups * O, I])} | ({"b": torch.Size([groups * O])} if bias else {})
    return LayerPair(name="fc", a=a, b=b, groups=groups, bias=bias, shapes=shapes, **options)


FORMS = ["dense", "one-hot", "strided"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_ops_take_a_pair_as_it_is(form, bias, rng):
    pair = make(rng, form=form, bias=bias)
    G = torch.stack([pair.grad(n) for n in range(3)])
    assert_same(ops.grads(pair.a, pair.b, **pair.geometry), G)
    assert_same(ops.norms(pair.a, pair.b, **pair.geometry), G.square().sum((1, 2)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("seeds", [None, 2])
def test_gradient_of_a_sample_is_the_sum_over_positions(form, groups, seeds, rng):
    pair = make(rng, form=form, groups=groups, seeds=seeds)
    rows = torch.cat([pair.rows(), torch.ones(3 * groups, 4, 1)], 2)
    b = pair.b if seeds else pair.b[:, None]
    for n in range(3):
        G = torch.zeros(seeds or 1, groups, 2, 7, dtype=torch.float64)
        for g in range(groups):
            for t in range(4):
                G[:, g] += b[n * groups + g, :, t, :, None] * rows[n * groups + g, t]
        G = G.flatten(1, 2) if seeds else G.flatten(1, 2)[0]
        assert_same(pair.grad(n), G)
        assert (pair.N, pair.T, pair.I, pair.O) == (3, 4, 6, 2)


def test_split_gives_each_parameter_its_part(rng):
    pair = make(rng, seeds=2)
    parts = pair.split(torch.stack([pair.grad(n) for n in range(3)]))
    assert parts["w"].shape == (3, 2, 2, 6) and parts["b"].shape == (3, 2, 2)
    assert_same(parts["b"], pair.b.sum(2))


def test_bytes_are_those_that_a_view_addresses(rng):
    """Overlapping patches are counted once, and an expanded b costs its one copy."""
    pair = make(rng, form="strided")
    assert pair.nbytes() == 8 * (3 * 12 + 3 * 4 * 2)
    one = LayerPair(name="", a=pair.a, b=torch.eye(2).double().expand(3, 4, 2, 2)[:, :1], t_dims=2, shapes=pair.shapes)
    assert one.nbytes() == 8 * (3 * 12 + 4)
    assert LayerPair(name="", a=torch.ones(0, 1, 2), b=torch.ones(0, 1, 2), shapes={}).nbytes() == 0
