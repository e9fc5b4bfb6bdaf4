"""gram: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import gram, norms, reference
from tests.laws import assert_same, assert_same_bits
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
    out = gram(a, b, bias=bias, method=method)
    assert out.dtype == dtype
    assert_same(out, reference.gram(a, b, bias=bias))
    assert_same_bits(out, out.mT.contiguous())


@every_method
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_of_two_sets_equals_the_einsum(shape, bias, method, dtype, rng):
    N, T, I, O = shape
    a, b = cases.make_pair(*shape, rng, dtype)
    a2, b2 = cases.make_pair(N + 3, T + 2, I, O, rng, dtype)
    assert_same(gram(a, b, a2, b2, bias=bias, method=method), reference.gram(a, b, a2, b2, bias=bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(60, 1, 500, 30), (30, 2, 601, 40), (1, 64, 9, 700), (2, 3, 2500, 1)], ids=str)
def test_few_positions_of_many_features(shape, bias, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    out = gram(a, b, method="gram", bias=bias)
    assert_same(out, reference.gram(a, b, bias=bias))
    assert_same_bits(out, out.mT.contiguous())
    a2, b2 = cases.make_pair(5, 7, *shape[2:], rng, dtype)
    assert_same(gram(a, b, a2, b2, method="gram", bias=bias), reference.gram(a, b, a2, b2, bias=bias))


@every_method
@pytest.mark.parametrize("shape", [(300, 1, 20, 9), (300, 3, 20, 9), (270, 20, 9, 4)], ids=str)
def test_more_samples_than_a_tile(shape, method, rng):
    a, b = cases.make_pair(*shape, rng)
    out = gram(a, b, method=method)
    assert_same(out, reference.gram(a, b))
    assert_same_bits(out, out.mT.contiguous())


@pytest.mark.parametrize("dtype, shape", [(torch.float32, (300, 2, 200, 130)), (torch.float64, (64, 9, 300, 250))])
def test_more_gradients_than_one_round_holds(dtype, shape, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    assert_same(gram(a, b, method="materialize"), reference.gram(a, b))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (90, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    options = {"bias": bias, "in_features": shape[2]}
    out = gram(ids, b, **options)
    assert_same(out, reference.gram(ids, b, **options))
    assert_same_bits(out, out.mT.contiguous())
    ids2, b2 = cases.make_index_pair(3, 4, *shape[2:], rng, dtype)
    assert_same(gram(ids, b, ids2, b2, **options), reference.gram(ids, b, ids2, b2, **options))


@every_method
def test_equals_torch_func_on_a_linear(method, rng):
    a, b, g = cases.linear_case(rng)
    assert_same(gram(a, b, method=method), g.flatten(1) @ g.flatten(1).mT)


@every_method
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, method, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    g = cases.conv_grads(conv, x).flatten(1)
    assert_same(gram(a, b, bias=True, t_dims=2, method=method), g @ g.mT)


def test_equals_autograd_on_an_embedding(rng):
    ids, b, g = cases.embedding_case(rng)
    assert_same(gram(ids, b, in_features=11), g.flatten(1) @ g.flatten(1).mT)


@every_method
def test_golden(method, dtype, device):
    a, b, truth = cases.golden("gram", "a", "b", "gram", dtype=dtype, device=device)
    assert torch.equal(gram(a, b, method=method), truth)
    assert torch.equal(gram(a, b, a, b, method=method), truth)


@every_method
def test_is_positive_semidefinite(method, rng):
    a, b = cases.make_pair(20, 2, 2, 3, rng)
    values = torch.linalg.eigvalsh(gram(a, b, method=method))
    assert values[0] >= -1e-12 * values[-1]
    assert (values > 1e-9 * values[-1]).sum() == 6  # rank I * O, which is less than N


@every_method
def test_diagonal_is_norms(method, rng):
    a, b = cases.make_pair(9, 4, 5, 6, rng)
    assert_same(gram(a, b, method=method).diagonal(), norms(a, b))


@every_method
def test_exchanging_the_sets_transposes(method, rng):
    a, b = cases.make_pair(9, 4, 5, 6, rng)
    a2, b2 = cases.make_pair(7, 2, 5, 6, rng)
    assert_same(gram(a, b, a2, b2, method=method), gram(a2, b2, a, b, method=method).mT)


@every_method
@pytest.mark.parametrize("T", [1, 5, 60])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_nan_stays_in_its_sample(T, method, dtype, rng):
    a, b = cases.make_pair(4, T, 6, 3, rng, dtype)
    a[1, 0, 2] = torch.nan
    nan = a.new_zeros(4, 4, dtype=torch.bool)
    nan[1] = nan[:, 1] = True
    assert torch.equal(gram(a, b, method=method).isnan(), nan)


@every_method
@pytest.mark.parametrize("shape", [(90, 1, 33, 70), (30, 40, 33, 70), (64, 9, 33, 70)], ids=str)
def test_same_call_gives_the_same_bits(shape, method, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    first = gram(a, b, method=method)
    assert all(torch.equal(gram(a, b, method=method), first) for _ in range(3))


def test_out_is_written_and_returned(rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    out = a.new_full((4, 4), torch.nan)
    assert gram(a, b, out=out) is out
    assert_same_bits(out, gram(a, b))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda a, b: {"a2": a}, "gram: a2 and b2 must come together; got a2 alone. Pass both, or neither for the"),
        (lambda a, b: {"b2": b}, "gram: a2 and b2 must come together; got b2 alone."),
        (
            lambda a, b: {"a2": a[..., :7], "b2": b},
            r"gram: both sets must agree on I and O; got O = 5, I = 8 and O = 5, I = 7. Capture both from one layer.",
        ),
        (
            lambda a, b: {"a2": a.float(), "b2": b.float()},
            "gram: both sets must have one dtype; got float64 and float32. Convert one with",
        ),
        (lambda a, b: {"a2": a[:2], "b2": b}, r"gram: a and b must agree on N and T; got a \[2, 3, 8\] and b \[4, 3"),
        (lambda a, b: {"method": "fast"}, "gram: method must be 'auto', 'gram' or 'materialize'; got 'fast'. Leave"),
        (lambda a, b: {"out": a.new_empty(4, 5)}, r"gram: out must be \[4, 4\]; got \[4, 5\]. Allocate it with"),
    ],
)
def test_errors(spoil, says, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    with pytest.raises(ValueError, match=says):
        gram(a, b, **spoil(a, b))
