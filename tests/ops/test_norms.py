"""norms: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import norms, reference
from tests.laws import RTOL, assert_same, assert_same_bits
from tests.ops import cases

METHODS = ["auto", "gram", "materialize"]
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


@every_method
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_equals_the_einsum(shape, bias, method, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    out = norms(a, b, bias=bias, method=method)
    assert out.dtype == dtype
    assert_same(out, reference.norms(a, b, bias=bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    assert_same(
        norms(ids, b, bias=bias, in_features=shape[2]), reference.norms(ids, b, bias=bias, in_features=shape[2])
    )


@every_method
def test_equals_torch_func_on_a_linear(method, rng):
    a, b, g = cases.linear_case(rng)
    assert_same(norms(a, b, method=method), g.square().sum((1, 2)))


@every_method
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, method, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    assert_same(norms(a, b, bias=True, t_dims=2, method=method), cases.conv_grads(conv, x).square().sum((1, 2)))


def test_equals_autograd_on_an_embedding(rng):
    ids, b, g = cases.embedding_case(rng)
    assert_same(norms(ids, b, in_features=11), g.square().sum((1, 2)))


@every_method
def test_golden(method, dtype, device):
    a, b, truth = cases.golden("norms", "a", "b", "norms", dtype=dtype, device=device)
    assert torch.equal(norms(a, b, method=method), truth)


@every_method
def test_scaling_by_a_power_of_two_is_squared_in_every_bit(method, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    assert_same_bits(norms(-4 * a, b, method=method), 16 * norms(a, b, method=method))


@every_method
def test_positions_are_a_set(method, rng):
    a, b = cases.make_pair(4, 6, 8, 5, rng)
    order = torch.randperm(6, generator=rng, device=rng.device)
    assert_same(norms(a[:, order], b[:, order], method=method), norms(a, b, method=method))


@every_method
def test_rotating_the_inputs_leaves_the_norm(method, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    q, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=rng, device=rng.device))
    assert_same(norms(a @ q, b, method=method), norms(a, b, method=method))


@every_method
def test_positions_that_cancel_give_zero(method, rng):
    """They add before the square. Up to rounding, and never below zero."""
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    out = norms(torch.cat([a, a], 1), torch.cat([b, -b], 1), method=method)
    assert (out >= 0).all() and (out <= RTOL[torch.float64] * a.square().sum() * b.square().sum()).all()


@every_method
def test_a_sample_does_not_depend_on_its_batch(method, dtype, rng):
    a, b = cases.make_pair(20, 70, 40, 24, rng, dtype)
    assert_same_bits(norms(a[7:8], b[7:8], method=method), norms(a, b, method=method)[7:8])


@every_method
@pytest.mark.parametrize("T", [1, 6, 40])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_nan_stays_in_its_sample(T, method, dtype, rng):
    a, b = cases.make_pair(3, T, 4, 4, rng, dtype)
    a[1, 0, 2] = torch.nan
    assert norms(a, b, method=method).isnan().tolist() == [False, True, False]


@every_method
def test_same_call_gives_the_same_bits(method, dtype, rng):
    a, b = cases.make_pair(30, 40, 33, 70, rng, dtype)
    first = norms(a, b, method=method)
    assert all(torch.equal(norms(a, b, method=method), first) for _ in range(3))


def test_method_must_be_known(rng):
    says = "norms: method must be 'auto', 'gram' or 'materialize'; got 'fast'. Leave it out for 'auto'."
    with pytest.raises(ValueError, match=says):
        norms(*cases.make_pair(4, 3, 8, 5, rng), method="fast")
