"""fisher: the truth, the oracles, the golden case, the laws."""

import pytest
import torch

from infotorch.ops import fisher, norms, reference
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases

FORMS = ["diagonal", "full"]
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


def of_gradients(g, form):
    """The same from G [N, O, I]."""
    v = g.flatten(1)
    return v.mT @ v if form == "full" else g.square().sum(0)


@every_form
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_equals_the_einsum(shape, bias, form, dtype, rng):
    if cases.is_too_large({"form": form}, shape):
        pytest.skip("the result would have billions of numbers")
    a, b = cases.make_pair(*shape, rng, dtype)
    out = fisher(a, b, form=form, bias=bias)
    assert out.dtype == dtype
    assert_same(out, reference.fisher(a, b, form=form, bias=bias))
    if form == "full":
        assert_same_bits(out, out.mT.contiguous())


# One position, in one tile and in more; gradients of several tiles, of many samples, and of pieces of positions at the
# ends of tiles.
TILES = [(130, 1, 300, 290), (130, 1, 800, 790), (5, 2, 600, 500), (2, 5, 500, 600), (700, 3, 20, 10)]
TILES += [(9, 257, 45, 70), (3, 140, 301, 143)]


@pytest.mark.parametrize("shape", TILES, ids=str)
def test_diagonal_of_more_than_one_tile(shape, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    assert_same(fisher(a, b), reference.fisher(a, b))


@pytest.mark.parametrize("power", [66, -66])
def test_squares_of_one_side_may_leave_the_range(power, dtype, rng):
    """The gradients fit, and so do their squares."""
    a, b = cases.make_pair(20, 1, 65, 48, rng, dtype)
    scale = 2.0 ** (power if dtype == torch.float32 else 8 * power)
    assert_same(fisher(a * scale, b / scale), reference.fisher(a, b))


def test_a_side_of_zeros_gives_zeros(dtype, rng):
    a, b = cases.make_pair(20, 1, 65, 48, rng, dtype)
    assert torch.equal(fisher(a, 0 * b), a.new_zeros(48, 65))


def test_diagonal_of_gradients_that_are_formed_in_several_pieces(dtype, rng):
    a, b = cases.make_pair(10, 130, 700, 600, rng, dtype)
    assert_same(fisher(a, b), reference.fisher(a, b))


@pytest.mark.parametrize("shape", [(600, 2, 30, 20), (9000, 1, 40, 25), (3, 4, 70, 9)], ids=str)
def test_full_of_more_samples_than_are_held_at_once(shape, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    out = fisher(a, b, form="full")
    assert_same(out, reference.fisher(a, b, form="full"))
    assert_same_bits(out, out.mT.contiguous())


@every_form
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_indices_equal_the_einsum(shape, bias, form, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    options = {"form": form, "bias": bias, "in_features": shape[2]}
    out = fisher(ids, b, **options)
    assert_same(out, reference.fisher(ids, b, **options))
    if form == "full":
        assert_same_bits(out, out.mT.contiguous())


@every_form
def test_equals_torch_func_on_a_linear(form, rng):
    a, b, g = cases.linear_case(rng)
    assert_same(fisher(a, b, form=form), of_gradients(g, form))


@every_form
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_equals_autograd_on_a_convolution(options, form, rng):
    conv, x = cases.conv_case(options, rng)
    a, b = cases.conv_pair(conv, x)
    assert_same(fisher(a, b, form=form, bias=True, t_dims=2), of_gradients(cases.conv_grads(conv, x), form))


@every_form
def test_equals_autograd_on_an_embedding(form, rng):
    ids, b, g = cases.embedding_case(rng)
    assert_same(fisher(ids, b, form=form, in_features=11), of_gradients(g, form))


@every_form
def test_golden(form, dtype, device):
    a, b, truth = cases.golden("fisher", "a", "b", form, dtype=dtype, device=device)
    assert torch.equal(fisher(a, b, form=form), truth)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("T", [1, 6])
def test_diagonal_of_the_full_form_is_the_diagonal(T, bias, rng):
    a, b = cases.make_pair(9, T, 5, 7, rng)
    diagonal = fisher(a, b, form="full", bias=bias).diagonal()
    assert_same(fisher(a, b, bias=bias).flatten(), diagonal)
    assert (diagonal >= 0).all()


@every_form
def test_trace_is_the_sum_of_the_norms(form, rng):
    a, b = cases.make_pair(9, 4, 5, 7, rng)
    out = fisher(a, b, form=form)
    assert_same(out.trace() if form == "full" else out.sum(), norms(a, b).sum())


def test_full_is_positive_semidefinite(rng):
    a, b = cases.make_pair(6, 2, 5, 3, rng)
    values = torch.linalg.eigvalsh(fisher(a, b, form="full"))
    assert values[0] >= -1e-12 * values[-1]
    assert (values > 1e-9 * values[-1]).sum() == 6  # rank N, which is less than O * I


@every_form
def test_samples_add(form, rng):
    a, b = cases.make_pair(9, 4, 5, 7, rng)
    assert_same(fisher(a, b, form=form), fisher(a[:4], b[:4], form=form) + fisher(a[4:], b[4:], form=form))


@every_form
def test_scaling_by_a_power_of_two_is_squared_in_every_bit(form, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    assert_same_bits(fisher(-4 * a, b, form=form), 16 * fisher(a, b, form=form))


@every_form
def test_nan_of_one_feature_reaches_what_it_touches(form, rng):
    a, b = cases.make_pair(3, 2, 4, 4, rng)
    b[1, 0, 2] = torch.nan
    nan = a.new_zeros(4, 4, dtype=torch.bool)
    nan[2] = True
    touched = nan.flatten()
    want = touched[:, None] | touched if form == "full" else nan
    assert torch.equal(fisher(a, b, form=form).isnan(), want)


@every_form
@pytest.mark.parametrize("shape", [(90, 1, 33, 70), (300, 10, 33, 20)], ids=str)
def test_same_call_gives_the_same_bits(shape, form, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    first = fisher(a, b, form=form)
    for _ in range(3):
        assert_same_bits(fisher(a, b, form=form), first)


@every_form
def test_out_is_written_and_returned(form, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    out = a.new_full((5, 9) if form == "diagonal" else (45, 45), torch.nan)
    assert fisher(a, b, form=form, bias=True, out=out) is out
    assert_same_bits(out, fisher(a, b, form=form, bias=True))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"form": "block"}, "fisher: form must be 'diagonal' or 'full'; got 'block'. Leave it out for 'diagonal'."),
        ({"out": (8, 5)}, r"fisher: out must be \[5, 8\]; got \[8, 5\]. Allocate it with that shape."),
        (
            {"form": "full", "out": (5, 8)},
            r"fisher: out must be \[40, 40\]; got \[5, 8\]. Allocate it with that shape.",
        ),
    ],
)
def test_errors(options, says, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    out = {"out": a.new_empty(options["out"])} if "out" in options else {}
    with pytest.raises(ValueError, match=says):
        fisher(a, b, **options | out)
