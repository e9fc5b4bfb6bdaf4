"""kron: the truth, the oracles, the golden case, the laws."""

import pytest
import torch
from torch import nn

from infotorch.ops import fisher, kron, reference
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases

SPLITS = ["expand", "reduce"]
every_split = pytest.mark.parametrize("split", SPLITS)


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


def assert_both(got, truth):
    """Both factors are the truth's, and symmetric to the bit."""
    for factor, wanted in zip(got, truth, strict=True):
        assert_same(factor, wanted)
        assert_same_bits(factor, factor.mT.contiguous())


@every_split
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [*cases.SHAPES, (3, 200, 600, 20), (500, 3, 20, 270)], ids=str)
def test_equals_the_einsum(shape, bias, split, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    out = kron(a, b, split=split, bias=bias)
    assert [factor.dtype for factor in out] == [dtype, dtype]
    assert_both(out, reference.kron(a, b, split=split, bias=bias))


def test_sums_of_more_samples_than_are_held_at_once(rng):
    a, b = cases.make_pair(5000, 2, 900, 3, rng)
    assert_both(kron(a, b, split="reduce"), reference.kron(a, b, split="reduce"))


@every_split
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, split, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    options = {"split": split, "bias": bias, "in_features": shape[2]}
    assert_both(kron(ids, b, **options), reference.kron(ids, b, **options))


def test_expand_is_the_fisher_information_of_one_sample_of_a_linear(rng):
    """An oracle: G = b (x) a there, so vec G vec G^T = B (x) A."""
    layer = nn.Linear(6, 4, dtype=torch.float64, device=rng.device)
    x = torch.randn(1, 6, dtype=torch.float64, generator=rng, device=rng.device)
    out = layer(x)
    (b,) = torch.autograd.grad(out.tanh().sum(), out, retain_graph=True)
    weight, bias = torch.autograd.grad(out.tanh().sum(), [layer.weight, layer.bias])
    g = torch.cat([weight, bias[:, None]], 1).flatten()
    A, B = kron(x[:, None], b[:, None], bias=True)
    assert_same(torch.kron(B, A), torch.outer(g, g))


@every_split
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_unfold_on_a_convolution(options, split, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    rows = nn.functional.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride).mT  # [N, T, I]
    rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
    x, y = (rows.sum(1), b.sum(1)) if split == "reduce" else (rows.flatten(0, 1), b.flatten(0, 1))
    assert_both(kron(a, b, split=split, bias=True, t_dims=2), (x.mT @ x, y.mT @ y))


@every_split
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "size", [(5, 4, 9, 30, 3, 3), (2, 40, 7, 2, 1, 3), (3, 6, 6, 40, 2, 2), (2, 3, 5, 3, 3, 7)], ids=str
)
def test_patches_have_the_bits_of_rows_written_out(size, bias, split, dtype, rng):
    """Rows are found run by run: whole and cut ones, several tables of them, and at either end of the memory."""
    N, T1, T2, C, kh, kw = size
    x, b = cases.make_pair(N, C * (2 * T1 + kh), T2 + kw, T1 * T2, rng, dtype)
    x, b = x.view(N, C, 2 * T1 + kh, T2 + kw), b[:, :3].mT
    n, c, h, w = x.stride()
    patches = x.as_strided(size, (n, 2 * h, w, c, h, w))
    written = kron(patches.reshape(N, T1 * T2, C * kh * kw), b, split=split, bias=bias)
    for factor, wanted in zip(kron(patches, b, split=split, bias=bias, t_dims=2), written, strict=True):
        assert_same_bits(factor, wanted)


def test_expand_of_an_embedding_counts_its_rows(rng):
    ids, b, _ = cases.embedding_case(rng)
    A, _ = kron(ids, b, in_features=11)
    assert torch.equal(A, torch.bincount(ids.flatten(), minlength=11).double().diag())


@every_split
def test_golden(split, dtype, device):
    names = (f"{split}_a", f"{split}_b", f"{split}_a_bias")
    a, b, *truth = cases.golden("kron", "a", "b", *names, dtype=dtype, device=device)
    for got, want in zip((*kron(a, b, split=split), kron(a, b, split=split, bias=True)[0]), truth, strict=True):
        assert torch.equal(got, want)


def test_with_one_position_both_splits_are_one(rng):
    a, b = cases.make_pair(20, 1, 5, 6, rng)
    for expanded, reduced in zip(kron(a, b, bias=True), kron(a, b, bias=True, split="reduce"), strict=True):
        assert_same_bits(expanded, reduced)


def test_with_one_sample_of_one_position_it_is_the_fisher_information(rng):
    a, b = cases.make_pair(1, 1, 5, 6, rng)
    A, B = kron(a, b)
    assert_same(torch.kron(B, A), fisher(a, b, form="full"))


def test_traces_are_sums_of_squares(rng):
    a, b = cases.make_pair(7, 3, 5, 6, rng)
    A, B = kron(a, b)
    assert_same(A.trace(), a.square().sum())
    assert_same(B.trace(), b.square().sum())


@every_split
def test_is_positive_semidefinite(split, rng):
    a, b = cases.make_pair(3, 2, 20, 9, rng)
    for factor in kron(a, b, split=split):
        values = torch.linalg.eigvalsh(factor)
        assert values[0] >= -1e-12 * values[-1]
        assert (values > 1e-9 * values[-1]).sum() == (3 if split == "reduce" else 6)


@every_split
def test_samples_add(split, rng):
    a, b = cases.make_pair(9, 4, 5, 7, rng)
    whole, first, rest = (kron(a[part], b[part], split=split) for part in (slice(9), slice(4), slice(4, 9)))
    for sum_, x, y in zip(whole, first, rest, strict=True):
        assert_same(sum_, x + y)


@every_split
def test_scaling_one_side_by_a_power_of_two_scales_its_factor_in_every_bit(split, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    (A, B), (A4, B4) = kron(a, b, split=split), kron(-4 * a, b, split=split)
    assert_same_bits(A4, 16 * A)
    assert_same_bits(B4, B)


@every_split
def test_nan_of_one_feature_reaches_what_it_touches(split, rng):
    a, b = cases.make_pair(3, 2, 4, 4, rng)
    a[1, 0, 2] = torch.nan
    nan = a.new_zeros(4, 4, dtype=torch.bool)
    nan[2] = nan[:, 2] = True
    A, B = kron(a, b, split=split)
    assert torch.equal(A.isnan(), nan) and B.isfinite().all()


@every_split
@pytest.mark.parametrize("shape", [(900, 1, 33, 70), (30, 100, 300, 20)], ids=str)
def test_same_call_gives_the_same_bits(shape, split, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    first = kron(a, b, split=split)
    for _ in range(3):
        for x, y in zip(kron(a, b, split=split), first, strict=True):
            assert_same_bits(x, y)


def test_split_must_be_known(rng):
    with pytest.raises(ValueError, match=r"kron: split must be 'expand' or 'reduce'; got 'sum'. Leave it out"):
        kron(*cases.make_pair(4, 3, 8, 5, rng), split="sum")
