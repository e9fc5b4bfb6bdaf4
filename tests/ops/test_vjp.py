"""vjp: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import grads, reference, vjp
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


def make_weights(N, K, rng, dtype=torch.float64):
    """[N], or [K, N] for K given."""
    return torch.randn(N if K is None else (K, N), dtype=torch.float64, generator=rng, device=rng.device).to(dtype)


@pytest.mark.parametrize("K", [None, 0, 1, 3, 17])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_equals_the_einsum(shape, bias, K, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    w = make_weights(shape[0], K, rng, dtype)
    out = vjp(a, b, w, bias=bias)
    assert out.dtype == dtype
    assert_same(out, reference.vjp(a, b, w, bias=bias))


# Gradients that visit a sum more than once, that share out a result of two tiles, that have many positions. One product
# over all positions, of samples that a piece cuts, of one sum and of several, of one tile and of four.
VISITS = [((300, 20, 120, 120), 20), ((40, 70, 150, 120), None), ((6, 1030, 40, 30), 2)]
VISITS += [((7, 70, 300, 290), None), ((40, 70, 300, 290), None), ((3000, 1, 64, 48), None), ((700, 3, 450, 410), 2)]


@pytest.mark.parametrize("shape, K", VISITS, ids=str)
def test_results_of_several_visits(shape, K, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    w = make_weights(shape[0], K, rng, dtype)
    assert_same(vjp(a, b, w), reference.vjp(a, b, w))


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, K, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    w = make_weights(shape[0], K, rng, dtype)
    options = {"bias": bias, "in_features": shape[2]}
    assert_same(vjp(ids, b, w, **options), reference.vjp(ids, b, w, **options))


@pytest.mark.parametrize("K", [None, 3])
def test_equals_torch_func_on_a_linear(K, rng):
    a, b, g = cases.linear_case(rng)
    w = make_weights(len(a), K, rng)
    assert_same(vjp(a, b, w), torch.tensordot(w, g, 1))


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, K, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    w = make_weights(len(x), K, rng)
    assert_same(vjp(a, b, w, bias=True, t_dims=2), torch.tensordot(w, cases.conv_grads(conv, x), 1))


def test_golden(dtype, device):
    a, b, w, truth = cases.golden("vjp", "a", "b", "w", "vjp", dtype=dtype, device=device)
    assert torch.equal(vjp(a, b, w), truth)
    assert torch.equal(vjp(a, b, w[0]), truth[0])


def test_one_weight_alone_picks_a_gradient(rng):
    a, b = cases.make_pair(5, 3, 4, 6, rng)
    assert_same(vjp(a, b, torch.eye(5, dtype=torch.float64, device=rng.device)), grads(a, b))


@pytest.mark.parametrize("K", [None, 4])
def test_is_linear_in_the_weights(K, rng):
    a, b = cases.make_pair(5, 3, 4, 6, rng)
    w, v = make_weights(5, K, rng), make_weights(5, K, rng)
    assert_same(vjp(a, b, 2 * w - v), 2 * vjp(a, b, w) - vjp(a, b, v))


@pytest.mark.parametrize("K", [None, 4])
@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (5, 1, 300, 300), (5, 140, 300, 300)], ids=str)
def test_a_weight_of_zero_keeps_nan(shape, K, rng):
    """As the page says: weights multiply, and do not select."""
    a, b = cases.make_pair(*shape, rng)
    b[2] = torch.nan
    w = make_weights(5, K, rng)
    w[..., 2] = 0
    assert vjp(a, b, w).isnan().all()


@pytest.mark.parametrize("K", [None, 6])
def test_same_call_gives_the_same_bits(K, dtype, rng):
    a, b = cases.make_pair(300, 10, 33, 70, rng, dtype)
    w = make_weights(300, K, rng, dtype)
    first = vjp(a, b, w)
    for _ in range(3):
        assert_same_bits(vjp(a, b, w), first)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_weights_may_be_of_either_dtype(half, rng):
    a, b = cases.make_pair(5, 3, 4, 6, rng, half)
    w = make_weights(5, 4, rng, half).requires_grad_()
    out = vjp(a, b, w)
    assert_same_bits(out, vjp(a, b, w.float()))
    assert_same_bits(out, vjp(a, b, w.mT.contiguous().mT))
    (grad,) = torch.autograd.grad(out.sum(), w)
    assert grad.dtype == half
    assert torch.equal(grad, grads(a, b).sum((1, 2)).to(half).expand(4, 5))
    says = r"vjp: w must be of b's dtype \(or float32\); got float64. Convert with w.to\(b\)."
    with pytest.raises(ValueError, match=says):
        vjp(a, b, w.double())


@pytest.mark.parametrize(
    "w, says",
    [
        (torch.zeros(3), r"vjp: w must be \[N\] or \[K, N\] with N = 4; got \[3\]. Give one weight per sample."),
        (torch.zeros(4, 3), r"vjp: w must be \[N\] or \[K, N\] with N = 4; got \[4, 3\]."),
        (torch.zeros(4), r"vjp: w must be of b's dtype; got float32. Convert with w.to\(b\)."),
    ],
)
def test_weights_must_fit(w, says, rng):
    with pytest.raises(ValueError, match=says):
        vjp(*cases.make_pair(4, 3, 8, 5, rng), w.to(rng.device))
