"""jvp: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import grads, jvp, norms, reference, vjp
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases

METHODS = ["auto", "apply", "materialize"]
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


def make_directions(a, b, K, rng, **options):
    """[O, I], or [K, O, I] for K given: noise and gradients alike, so that few inner products nearly cancel."""
    N = len(b)
    w = torch.randn(N if K is None else (K, N), dtype=torch.float64, generator=rng, device=rng.device)
    along = reference.vjp(a, b, w, **options)
    noise = torch.randn(along.shape, dtype=torch.float64, generator=rng, device=rng.device)
    return (along + noise * along.square().mean().nan_to_num().sqrt()).to(b.dtype)


@every_method
@pytest.mark.parametrize("K", [None, 0, 1, 3, 17])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_equals_the_einsum(shape, bias, K, method, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    v = make_directions(a, b, K, rng, bias=bias)
    out = jvp(a, b, v, bias=bias, method=method)
    assert out.dtype == dtype
    assert_same(out, reference.jvp(a, b, v, bias=bias))


@every_method
@pytest.mark.parametrize("shape", [(300, 2, 20, 9), (3, 2, 300, 700), (2, 5, 700, 300)], ids=str)
def test_more_than_one_piece_of_each_kind(shape, method, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    v = make_directions(a, b, 6, rng)
    assert_same(jvp(a, b, v, method=method), reference.jvp(a, b, v))


@every_method
def test_gradients_that_are_formed_in_several_pieces(method, dtype, rng):
    a, b = cases.make_pair(10, 130, 700, 600, rng, dtype)
    v = make_directions(a, b, 6, rng)
    assert_same(jvp(a, b, v, method=method), reference.jvp(a, b, v))


@every_method
def test_more_results_than_are_summed_at_once(method, rng):
    a, b = cases.make_pair(40, 2, 3, 2, rng)
    v = make_directions(a, b, 9000, rng)
    assert_same(jvp(a, b, v, method=method), reference.jvp(a, b, v))


def test_more_directions_than_are_held_at_once(rng):
    a, b = cases.make_pair(3, 1, 600, 500, rng)
    v = make_directions(a, b, 12, rng)
    assert_same(jvp(a, b, v, method="apply"), reference.jvp(a, b, v))


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, K, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    options = {"bias": bias, "in_features": shape[2]}
    v = make_directions(ids, b, K, rng, **options)
    assert_same(jvp(ids, b, v, **options), reference.jvp(ids, b, v, **options))


@every_method
@pytest.mark.parametrize("K", [None, 3])
def test_equals_torch_func_on_a_linear(K, method, rng):
    a, b, g = cases.linear_case(rng)
    v = make_directions(a, b, K, rng)
    assert_same(jvp(a, b, v, method=method), torch.tensordot(g, v, ([1, 2], [-2, -1])))


@every_method
@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, K, method, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    v = make_directions(a, b, K, rng, bias=True, t_dims=2)
    truth = torch.tensordot(cases.conv_grads(conv, x), v, ([1, 2], [-2, -1]))
    assert_same(jvp(a, b, v, bias=True, t_dims=2, method=method), truth)


def test_equals_autograd_on_an_embedding(rng):
    ids, b, g = cases.embedding_case(rng)
    v = make_directions(ids, b, 3, rng, in_features=11)
    assert_same(jvp(ids, b, v, in_features=11), torch.tensordot(g, v, ([1, 2], [1, 2])))


@every_method
def test_golden(method, dtype, device):
    a, b, v, truth = cases.golden("jvp", "a", "b", "v", "jvp", dtype=dtype, device=device)
    assert torch.equal(jvp(a, b, v, method=method), truth)
    assert torch.equal(jvp(a, b, v[1], method=method), truth[:, 1])


@every_method
def test_is_the_adjoint_of_vjp(method, rng):
    """<jvp(v), w> = <vjp(w), v>."""
    a, b = cases.make_pair(5, 3, 4, 6, rng)
    v, w = make_directions(a, b, 7, rng), torch.randn(7, 5, dtype=torch.float64, generator=rng, device=rng.device)
    assert_same((jvp(a, b, v, method=method).mT * w).sum(), (vjp(a, b, w) * v).sum())


@every_method
def test_along_the_gradient_it_is_the_squared_norm(method, rng):
    a, b = cases.make_pair(5, 3, 4, 6, rng)
    assert_same(jvp(a, b, grads(a, b), method=method).diagonal(), norms(a, b))


@every_method
@pytest.mark.parametrize("K", [None, 4])
def test_is_linear_in_the_directions(K, method, rng):
    a, b = cases.make_pair(5, 3, 4, 6, rng)
    v, u = make_directions(a, b, K, rng), make_directions(a, b, K, rng)
    whole = jvp(a, b, 2 * v - u, method=method)
    assert_same(whole, 2 * jvp(a, b, v, method=method) - jvp(a, b, u, method=method))


@every_method
@pytest.mark.parametrize("T", [1, 6, 40])
def test_nan_stays_in_its_sample(T, method, rng):
    a, b = cases.make_pair(3, T, 4, 4, rng)
    v = make_directions(a, b, 2, rng)
    a[1, 0, 2] = torch.nan
    assert jvp(a, b, v, method=method).isnan().tolist() == [[False] * 2, [True] * 2, [False] * 2]


@every_method
def test_how_directions_lie_is_not_in_the_result(method, rng):
    a, b = cases.make_pair(4, 40, 32, 16, rng)
    v = make_directions(a, b, 6, rng)
    for v_too in cases.respread(v):
        assert_same_bits(jvp(a, b, v_too, method=method), jvp(a, b, v, method=method))


@every_method
@pytest.mark.parametrize("K", [None, 6])
def test_same_call_gives_the_same_bits(K, method, dtype, rng):
    a, b = cases.make_pair(300, 10, 33, 70, rng, dtype)
    v = make_directions(a, b, K, rng)
    first = jvp(a, b, v, method=method)
    for _ in range(3):
        assert_same_bits(jvp(a, b, v, method=method), first)


@pytest.mark.parametrize("shape", [(5, 9), (3, 5, 9)], ids=str)
def test_gradient_by_its_directions(shape, rng):
    a, b = (x.requires_grad_() for x in cases.make_pair(2, 3, 8, 5, rng))
    v = torch.randn(shape, dtype=torch.float64, generator=rng, device=rng.device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, v: jvp(a, b, v, bias=True), (a, b, v))


@pytest.mark.parametrize(
    "v, options, says",
    [
        (
            torch.zeros(8, 5),
            {},
            r"jvp: v must be \[O, I\] or \[K, O, I\] with O = 5 and I = 8; got \[8, 5\]. Shape it as the weight.",
        ),
        (
            torch.zeros(2, 5, 8),
            {"bias": True},
            r"jvp: v must be \[O, I\] or \[K, O, I\] with O = 5 and I = 9, the bias's included; got \[2, 5, 8\]. Shape",
        ),
        (torch.zeros(5), {}, r"jvp: v must be \[O, I\] or \[K, O, I\] with O = 5 and I = 8; got \[5\]. Shape it"),
        (torch.zeros(5, 8), {}, r"jvp: v must be of b's dtype; got float32. Convert with v.to\(b\)."),
        (
            torch.zeros(5, 8, dtype=torch.float64),
            {"method": "gram"},
            "jvp: method must be 'auto', 'apply' or 'materialize'; got 'gram'. Leave it out for 'auto'.",
        ),
    ],
)
def test_errors(v, options, says, rng):
    with pytest.raises(ValueError, match=says):
        jvp(*cases.make_pair(4, 3, 8, 5, rng), v.to(rng.device), **options)


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_directions_of_an_embedding_may_lie_as_its_weight(bias, K, dtype, rng):
    """[I, O], turned: the same bits as of a copy, without one."""
    ids, b = cases.make_index_pair(6, 5, 7, 9, rng, dtype)
    v = torch.randn(*([] if K is None else [K]), 7 + bias, 9, generator=rng, device=rng.device).to(dtype).mT
    assert not v.is_contiguous()
    assert_same_bits(jvp(ids, b, v, bias=bias, in_features=7), jvp(ids, b, v.contiguous(), bias=bias, in_features=7))
