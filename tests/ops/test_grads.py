"""grads: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import grads, reference
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_equals_the_einsum(shape, bias, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    out = grads(a, b, bias=bias)
    assert out.dtype == dtype
    assert_same(out, reference.grads(a, b, bias=bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    assert_same(
        grads(ids, b, bias=bias, in_features=shape[2]), reference.grads(ids, b, bias=bias, in_features=shape[2])
    )


# (T, I, bias, begin) of rows that are whole lines, from one position to more than one visit has, and of others.
LARGE = [(T, I, bias, begin) for T in (1, 3) for I, bias, begin in [(511, True, 0), (7, False, 0)]]
LARGE += [(T, I, False, begin) for T in (1, 3, 128, 129) for I, begin in [(512, 0), (512, 1), (560, 0)]]
LARGE += [(T, 512, True, 0) for T in (1, 3, 128, 129)]


@pytest.mark.parametrize("T, I, bias, begin", LARGE)
def test_results_larger_than_a_cache_equal_the_einsum(T, I, bias, begin, dtype, rng):
    """Written past the cache, where rows are whole lines and positions one visit, or through it."""
    N, O = (40, 850) if I > 7 else (3000, 850)
    a, b = cases.make_pair(N, T, I, O, rng, dtype)
    held = b.new_empty(begin + N * O * (I + bias))
    out = held[begin:].view(N, O, I + bias)
    rows = torch.cat([a, a.new_ones(N, T, 1)], 2) if bias else a
    assert_same(grads(a, b, bias=bias, out=out), torch.einsum("nto,nti->noi", b.double(), rows.double()).to(dtype))


@pytest.mark.parametrize("T", [128, 129, 300])
@pytest.mark.parametrize("I, O", [(27, 32), (65, 32), (3, 64)])
def test_turned_tiles_equal_the_einsum(T, I, O, dtype, rng):
    """A result whose rows would waste a part of every vector."""
    a, b = cases.make_pair(5, T, I, O, rng, dtype)
    assert_same(grads(a, b), reference.grads(a, b))


def test_equals_torch_func_on_a_linear(rng):
    a, b, truth = cases.linear_case(rng)
    assert_same(grads(a, b), truth)


@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    assert_same(grads(a, b, bias=True, t_dims=2), cases.conv_grads(conv, x))


def test_equals_autograd_on_an_embedding(rng):
    ids, b, truth = cases.embedding_case(rng)
    assert_same(grads(ids, b, in_features=11), truth)


def test_golden(dtype, device):
    a, b, truth = cases.golden("grads", "a", "b", "grads", dtype=dtype, device=device)
    assert torch.equal(grads(a, b), truth)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_every_number_of_16_bits_is_read_exactly(half, device):
    x = torch.arange(1 << 16, dtype=torch.int32, device=device).short().view(half)
    x = x.where(~(x.float().abs() < torch.finfo(torch.float32).smallest_normal), 0)  # which a CPU's kernels take as 0
    out = grads(x.reshape(64, 1, 1024), x.new_ones(64, 1, 1)).flatten()
    assert torch.equal(out.isnan(), x.isnan())
    assert_same_bits(out.nan_to_num(0, torch.inf, -torch.inf), x.float().nan_to_num(0, torch.inf, -torch.inf))
    x = x.nan_to_num(0, 0, 0).reshape(64, 32, 32)  # positions that lie side by side are transposed on the way
    out = grads(x.mT, torch.eye(32, dtype=half, device=device).expand(64, -1, -1))
    assert_same_bits(out, x.float().mT + 0.0)  # a sum with zeros knows no -0.


def test_positions_add(rng):
    a, b = cases.make_pair(3, 4, 5, 6, rng)
    assert_same(grads(a, b), grads(a[:, :1], b[:, :1]) + grads(a[:, 1:], b[:, 1:]))


def test_scaling_by_a_power_of_two_scales_every_bit(rng):
    a, b = cases.make_pair(3, 4, 5, 6, rng)
    assert_same_bits(grads(-4 * a, b), -4 * grads(a, b))


def test_bias_is_the_sum_of_b(rng):
    a, b = cases.make_pair(3, 4, 5, 6, rng)
    assert_same(grads(a, b, bias=True)[:, :, -1], b.sum(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_nan_stays_in_its_sample(dtype, rng):
    a, b = cases.make_pair(3, 2, 4, 4, rng, dtype)
    a[1, 0, 2] = torch.nan
    assert grads(a, b).isnan().any((1, 2)).tolist() == [False, True, False]


def test_same_call_gives_the_same_bits(dtype, rng):
    a, b = cases.make_pair(30, 40, 33, 70, rng, dtype)
    first = grads(a, b)
    assert all(torch.equal(grads(a, b), first) for _ in range(3))


def test_out_is_written_and_returned(rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    out = a.new_full((4, 5, 9), torch.nan)
    assert grads(a, b, bias=True, out=out) is out
    assert_same_bits(out, grads(a, b, bias=True))


@pytest.mark.parametrize(
    "out, says",
    [
        (torch.empty(4, 5, 9), r"grads: out must be \[4, 5, 8\]; got \[4, 5, 9\]. Allocate it with that shape."),
        (
            torch.empty(4, 5, 8),
            r"grads: out must be float64; got float32. Allocate it with b.new_empty\(size",
        ),
        (torch.empty(4, 8, 5, dtype=torch.float64).mT, "grads: out must be contiguous; got strides."),
    ],
)
def test_out_must_fit(out, says, rng):
    with pytest.raises(ValueError, match=says):
        grads(*cases.make_pair(4, 3, 8, 5, rng), out=out.to(rng.device))
