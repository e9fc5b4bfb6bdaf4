from dataclasses import replace

import pytest
import torch

from infotorch.blocks import factors
from infotorch.capture import LayerPair
from tests.laws import assert_same

N, I, O = 4, 3, 5
KINDS = {
    "matrix": {},
    "one position": {"T": 1},
    "no position": {"T": 0},
    "no bias": {"bias": False},
    "transposed": {"transposed": True},
    "groups": {"groups": 2},
    "transposed groups": {"groups": 2, "transposed": True},
    "table": {"in_features": 6, "transposed": True, "bias": False},
    "ids of a matrix": {"in_features": 6},
    "grouped ids": {"in_features": 6, "groups": 2, "bias": False},
    "patches": {"t_dims": 2},
    "transposed patches": {"t_dims": 2, "transposed": True},
}


def make_pair(rng, K, T=6, groups=1, transposed=False, in_features=None, bias=True, t_dims=1):
    """A pair with strided cotangents and, for patches, overlapping inputs."""
    if in_features:
        a = torch.randint(0, in_features, (N * groups, T), generator=rng)
    elif t_dims == 2:
        x = torch.randn(N * groups, 4, 4, dtype=torch.float64, generator=rng)
        a = x.as_strided((N * groups, 2, 3, I), (16, 4, 1, 3))
    else:
        a = torch.randn(N * groups, T, I, dtype=torch.float64, generator=rng)
    leading = (N * groups,) if K is None else (N * groups, K)
    b = torch.randn(*leading, O, T, dtype=torch.float64, generator=rng).mT
    width = in_features or I
    shape = (width, groups * O) if transposed else (groups * O, width)
    shapes = {"w": torch.Size(shape)} | ({"b": torch.Size([groups * O])} if bias else {})
    return LayerPair(
        name="layer",
        a=a,
        b=b,
        t_dims=t_dims,
        in_features=in_features,
        groups=groups,
        transposed=transposed,
        bias=bias,
        shapes=shapes,
    )


@pytest.fixture(params=[None, 1, 3], ids=["loss", "one seed", "seeds"])
def K(request):
    return request.param


@pytest.fixture(params=KINDS)
def pair(request, K, rng):
    return make_pair(rng, K, **KINDS[request.param])


def formed(pair):
    """{name: [N, (K,) *shape]} by one plain product."""
    return {name: g.contiguous() for name, g in pair.split(pair.gradients(pair.bias)).items()}


def flat(pair):
    d = pair.b.dim() - 2
    return torch.cat([g.flatten(d) for g in formed(pair).values()], d)  # [N, (K,) P]


def test_gradients_are_written_where_they_belong(pair):
    truth = formed(pair)
    out = {name: torch.full_like(g, float("nan")) for name, g in truth.items()}
    factors.write_gradients(pair, out)
    for name, g in truth.items():
        assert_same(out[name], g)


def test_pieces_do_not_change_what_is_written(pair, monkeypatch):
    monkeypatch.setattr(factors, "FORMED_BYTES", 1)
    test_gradients_are_written_where_they_belong(pair)


def test_norms_are_those_of_formed_gradients(pair):
    assert_same(factors.squared_norms(pair), flat(pair).square().sum(-1))


@pytest.mark.parametrize("J", [1, 4])
def test_inner_products_with_tangents(pair, J, rng):
    V = {name: torch.randn(J, *shape, dtype=torch.float64, generator=rng) for name, shape in pair.shapes.items()}
    truth = flat(pair) @ torch.cat([v.flatten(1) for v in V.values()], 1).mT
    assert_same(factors.inner_products(pair, V), truth)


@pytest.mark.parametrize("J", [1, 4])
def test_weighted_sums(pair, J, rng):
    u = torch.randn(J, *pair.b.shape[1:-2], N, dtype=torch.float64, generator=rng).movedim(-1, 1)  # [J, N, (K)]
    sums = factors.weighted_sums(pair, u)
    for name, g in formed(pair).items():
        truth = u.flatten(1) @ g.reshape(u[0].numel(), -1)
        assert_same(sums[name], truth.view(J, *pair.shapes[name]))


def test_squares_summed_over_rows(pair):
    sums = factors.summed_squares(pair)
    for name, g in formed(pair).items():
        assert_same(sums[name], g.view(-1, *pair.shapes[name]).square().sum(0))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_squares_of_wide_layers_at_one_position(groups, transposed, rng, monkeypatch):
    """They are multiplied by torch, some samples at a time."""
    monkeypatch.setattr(factors, "NARROW", 1)
    monkeypatch.setattr(factors, "FORMED_BYTES", 3 * 8 * I)
    pair = make_pair(rng, 3, T=1, groups=groups, transposed=transposed)
    zero = pair.b.clone()
    zero[:, :, :, 1] = 0
    for one in (pair, replace(pair, b=zero)):
        test_squares_summed_over_rows(one)


def test_factors_of_a_kronecker_product(pair):
    a, b = pair.rows(), pair.b if pair.b.dim() == 4 else pair.b[:, None]
    if pair.bias:
        a = torch.nn.functional.pad(a, (0, 1), value=1.0)
    for g in range(pair.groups):
        A, B = factors.input_moments(pair, g), factors.output_moments(pair, g)
        assert_same(A, torch.einsum("nti,ntj->ij", a[g :: pair.groups], a[g :: pair.groups]))
        assert_same(B, torch.einsum("nkto,nktp->op", b[g :: pair.groups], b[g :: pair.groups]))


def test_some_samples_alone(pair):
    few = factors.sample_slice(pair, slice(1, 3))
    assert_same(flat(few), flat(pair)[1:3])


def test_one_group_alone(pair):
    parts = [factors.group(pair, g).gradients(pair.bias) for g in range(pair.groups)]
    assert_same(torch.cat(parts, -2), pair.gradients(pair.bias))
