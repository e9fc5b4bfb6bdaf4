"""What holds for every op on a pair: how it may lie, 16-bit inputs, autocast, and the refusals."""

import inspect

import pytest
import torch

from infotorch import ops
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases
from tests.ops.cases import parts, run

every_op = pytest.mark.parametrize("op", sorted(cases.CALLS))
every_way = pytest.mark.parametrize("op, way", cases.WAYS, ids=str)
every_half = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
every_differentiable_op = pytest.mark.parametrize("op", [op for op, call in cases.CALLS.items() if call.differentiable])
every_op_with_out = pytest.mark.parametrize(
    "op", [op for op in sorted(cases.CALLS) if "out" in getattr(torch.ops.infotorch, op).overloads()]
)


def test_every_op_on_a_pair_has_a_line_in_the_table():
    taken = {op: list(inspect.signature(getattr(ops, op)).parameters)[:2] for op in ops.__all__}
    assert sorted(cases.CALLS) == sorted(op for op, first in taken.items() if first == ["a", "b"])


@every_op
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_meta_tensors_tell_the_shape(op, dtype, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng, dtype)
    fakes = parts(run(op, a.to("meta"), b.to("meta"), bias=True))
    for fake, real in zip(fakes, parts(run(op, a, b, bias=True)), strict=True):
        assert fake.shape == real.shape and fake.dtype == real.dtype


def assert_equals_the_einsum(op, a, b, **options):
    for got, truth in zip(parts(run(op, a, b, **options)), parts(cases.truth(op, a, b, **options)), strict=True):
        assert got.dtype == cases.result_dtype(b)
        assert_same(got, truth, b.dtype)


@every_way
@every_half
@pytest.mark.parametrize("shape", cases.SHAPES, ids=str)
def test_16_bits_equal_the_einsum(op, way, half, shape, rng):
    if cases.is_too_large(way, shape):
        pytest.skip("the result would have billions of numbers")
    a, b = cases.make_pair(*shape, rng, half)
    for bias in (False, True):
        assert_equals_the_einsum(op, a, b, bias=bias, **way)


@every_way
@every_half
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_16_bits_of_a_convolution_equal_the_einsum(op, way, half, options, rng):
    a, b = cases.conv_pair(*cases.conv_case(options, rng), half)
    assert_equals_the_einsum(op, a, b, bias=True, t_dims=2, **way)


@every_way
@every_half
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 4, 4), (0, 3, 4, 4)], ids=str)
def test_16_bits_beside_indices_equal_the_einsum(op, way, half, shape, rng):
    ids, b = cases.make_index_pair(*shape, rng, half)
    for bias in (False, True):
        assert_equals_the_einsum(op, ids, b, bias=bias, in_features=shape[2], **way)


@every_way
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_how_inputs_lie_is_not_in_the_result(op, way, dtype, rng):
    a, b = cases.make_pair(4, 40, 32, 16, rng, dtype)
    for a_too in cases.respread(a):
        for b_too in cases.respread(b):
            assert_equals_the_einsum(op, a_too, b_too, **way)
    assert_equals_the_einsum(op, a[:1].expand(4, -1, -1), b, **way)
    assert_equals_the_einsum(op, a, b[:, :1].expand(-1, 40, -1), **way)
    assert_equals_the_einsum(op, a[..., :1].expand(-1, -1, 32), b[:1, :1].expand(4, 40, -1), **way)


@every_way
@every_half
def test_16_bits_are_summed_in_float32(op, way, half, rng):
    """As exact as float32 inputs, which holds for no sum in 16 bits; and beyond float16's largest number, 65504."""
    a, b = (x.to(half) for x in cases.make_pair(3, 300, 40, 20, rng))
    for got, truth in zip(parts(run(op, a, b, **way)), parts(cases.truth(op, a, b, **way)), strict=True):
        assert_same(got, truth, torch.float32)
    a, b = (x / x.abs().amax() * 6e4 for x in (a, b))
    assert_equals_the_einsum(op, a, b, **way)
    assert all(part.isfinite().all() and part.abs().amax() > 1e5 for part in parts(run(op, a, b, **way)))


@every_way
@every_half
def test_16_bits_give_the_same_bits_again(op, way, half, rng):
    a, b = cases.make_pair(30, 40, 33, 70, rng, half)
    for first, again in zip(parts(run(op, a, b, **way)), parts(run(op, a, b, **way)), strict=True):
        assert_same_bits(first, again)


@every_differentiable_op
@every_half
def test_gradients_are_of_the_inputs_dtype(op, half, rng):
    """They are computed as for float32 and rounded once, at the end."""
    pair = [x.requires_grad_() for x in cases.make_pair(4, 6, 8, 5, rng, half)]
    wide = [x.detach().float().requires_grad_() for x in pair]
    for bias in (False, True):
        out = run(op, *pair, bias=bias)
        weights = cases.waves(*out.shape).float()
        got = torch.autograd.grad(out, pair, weights)
        want = torch.autograd.grad(run(op, *wide, bias=bias), wide, weights)
        for got_x, want_x in zip(got, want, strict=True):
            assert got_x.dtype == half
            assert_same(got_x, want_x.to(half))


@every_op
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(op, dtype, rng):
    differentiable = cases.CALLS[op].differentiable
    pair = [x.requires_grad_(differentiable) for x in cases.make_pair(4, 6, 8, 5, rng, dtype)]

    def results():
        out = parts(run(op, *pair, bias=True))
        return (*out, *torch.autograd.grad(out[0].sin().sum(), pair)) if differentiable else out

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = results()
    for got, want in zip(inside, results(), strict=True):
        assert torch.equal(got, want) and got.dtype == want.dtype


REFUSALS = {
    "a without positions": (
        lambda a, b: (a[:, 0], b, {}),
        r"a must be \[N, \*T, \*I\] with t_dims axes of positions, and b \[N, T, O\]; "
        r"got a \[2, 8\] and b \[2, 3, 5\]. Insert the T axis with unsqueeze\(1\) if it is missing.",
    ),
    "b of two axes": (
        lambda a, b: (a, b[:, 0], {}),
        r"a must be .*, and b \[N, T, O\]; got a \[2, 3, 8\] and b \[2, 5\]. Insert",
    ),
    "another N": (
        lambda a, b: (a[:1], b, {}),
        r"a and b must agree on N and T; got a \[1, 3, 8\] and b \[2, 3, 5\]. Capture both from the same forward pass.",
    ),
    "another T": (
        lambda a, b: (a[:, :2], b, {}),
        r"a and b must agree on N and T; got a \[2, 2, 8\] and b \[2, 3, 5\]. Capture",
    ),
    "wrong t_dims": (
        lambda a, b: (a[..., None], b, {"t_dims": 2}),
        r"a and b must agree on N and T; got a \[2, 3, 8, 1\] and b \[2, 3, 5\].",
    ),
    "t_dims of 0": (
        lambda a, b: (a, b, {"t_dims": 0}),
        "t_dims must be 1 to 4; got 0. Count the axes of positions in a.",
    ),
    "two dtypes": (
        lambda a, b: (a.float(), b, {}),
        r"a and b must have one dtype; got float32 and float64. Convert one with .to\(dtype\).",
    ),
    "two dtypes of 16 bits": (
        lambda a, b: (a.half(), b.bfloat16(), {}),
        "a and b must have one dtype; got float16 and bfloat16.",
    ),
    "no numbers": (
        lambda a, b: (a.bool(), b, {}),
        r"a must be float64, float32, bfloat16, float16, or int64 indices; got bool. Convert with a.float\(\).",
    ),
    "integers in b": (
        lambda a, b: (a, b.long(), {}),
        r"b must be float64, float32, bfloat16 or float16; got int64. Convert with b.float\(\).",
    ),
    "int32 indices": (
        lambda a, b: (a[..., 0].int(), b, {"in_features": 8}),
        "a must be float64, float32, bfloat16, float16, or int64 indices; got int32. Convert with a.long().",
    ),
    "indices without in_features": (
        lambda a, b: (a.long(), b, {}),
        r"int64 a needs in_features; got none. Pass the number of embeddings as in_features, or a.float\(\).",
    ),
    "in_features without indices": (
        lambda a, b: (a, b, {"in_features": 8}),
        "in_features is for int64 indices; got a of float64. Leave in_features out.",
    ),
    "index too large": (
        lambda a, b: (torch.tensor([[0, 7, 1], [2, 8, 0]]), b, {"in_features": 8}),
        r"indices in a must lie in \[0, 8\); got 8 in sample 1. Map padding to a row of its own, with b zero there.",
    ),
    "index below zero": (
        lambda a, b: (torch.tensor([[0, -1, 1], [2, 3, 0]]), b, {"in_features": 8}),
        r"indices in a must lie in \[0, 8\); got -1 in sample 0. Map",
    ),
    "indices of three axes": (
        lambda a, b: (a.long(), b, {"in_features": 8}),
        r"indices must be \[N, T\] and b \[N, T, O\]; got a \[2, 3, 8\] and b \[2, 3, 5\]. Flatten the axes",
    ),
    "negative in_features": (
        lambda a, b: (torch.zeros(2, 0, dtype=torch.int64), b[:, :0], {"in_features": -1}),
        "in_features must not be negative; got -1. Pass the number of embeddings.",
    ),
}


READ = {"index too large", "index below zero"}  # in memory
NAMES = {chosen for _, way in cases.WAYS for chosen in way.values() if isinstance(chosen, str)}


@every_op
@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(op, case, rng):
    spoil, says = REFUSALS[case]
    a, b, options = spoil(*cases.make_pair(2, 3, 8, 5, rng))
    with pytest.raises(ValueError, match=f"^{op}: {says}"):
        run(op, a, b, **options)


@every_op
@pytest.mark.parametrize("case", [case for case in REFUSALS if case not in READ])
def test_fake_kernels_refuse_in_the_same_words(op, case, rng):
    spoil, says = REFUSALS[case]
    a, b, options = spoil(*cases.make_pair(2, 3, 8, 5, rng))
    with pytest.raises(ValueError, match=f"^{op}: {says}"):
        run(op, a.to("meta"), b.to("meta"), **options)


@pytest.mark.parametrize(
    "op, option", [(op, name) for op, way in cases.WAYS for name, chosen in way.items() if chosen in NAMES]
)
def test_fake_kernels_refuse_a_choice_in_the_same_words(op, option, rng):
    texts = set()
    for device in ("cpu", "meta"):
        a, b = (x.to(device) for x in cases.make_pair(2, 3, 8, 5, rng))
        with pytest.raises(ValueError, match=f"^{op}: {option} must be .*; got 'fast'. Leave it out for") as error:
            run(op, a, b, **{option: "fast"})
        texts.add(str(error.value))
    assert len(texts) == 1


@pytest.mark.parametrize("op", [op for op in sorted(cases.CALLS) if op != "jvp"])  # whose v would have to be as large
@pytest.mark.parametrize("options", [{"in_features": 2**62}, {"in_features": 2**63 - 1, "bias": True}], ids=str)
def test_refuses_gradients_beyond_counting(op, options):
    ids, b = torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, 5)
    got = f"O = 5 and I = {options['in_features']}"
    with pytest.raises(
        ValueError, match=rf"{op}: a gradient must have fewer than 2\^59 numbers; got {got}. Check b and"
    ):
        run(op, ids, b, **options)


def beyond_counting(op):
    """(a, b, options) of few numbers in memory, whose result would have 2^59 or more, and its sizes in words."""
    one, ids = torch.ones(1, 1, 1), torch.zeros(2, 1, dtype=torch.int64)
    wide, most = one.expand(1, 1, 2**28), 2**58
    return {
        "fisher": (wide, one.expand(1, 1, 4), {"form": "full"}, [2**30, 2**30]),
        "kron": (one.expand(1, 1, 2**30), one, {}, [2**30, 2**30]),
        "grads": (ids, one.expand(2, 1, 1), {"in_features": most}, [2, 1, most]),
        "gram": (one.expand(2**30, 1, 1), one.expand(2**30, 1, 1), {}, [2**30, 2**30]),
        "vjp": (ids, one.expand(2, 1, 1), {"in_features": most}, [3, 1, most]),
        "project": (one.expand(2**29, 1, 1), one.expand(2**29, 1, 1), {"k": 2**30, "seed": 0}, [2**29, 2**30]),
    }[op]


@pytest.mark.parametrize("op", ["fisher", "kron", "grads", "gram", "vjp", "project"])
def test_refuses_results_beyond_counting(op):
    a, b, options, size = beyond_counting(op)
    says = f"{op}: the result must have fewer than 2\\^59 numbers; got {size}. Ask for a smaller one."
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        run(op, a, b, **options)


def test_too_little_memory_is_said_in_words():
    ids, b = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, 1)
    says = r"infotorch: memory must hold what is computed; got no room for a tensor of \[1, 1, 281474976710656\]. Free"
    with pytest.raises(RuntimeError, match=says):
        ops.grads(ids, b, in_features=2**48)


@every_op
def test_refuses_tensors_on_two_devices(op, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    args = cases.arguments(op, a, b)
    says = f"{op}: all tensors must be on one device; got cpu and meta. Move one with .to"
    with pytest.raises(ValueError, match=says):
        run(op, a.to("meta"), b)
    with pytest.raises(ValueError, match=f"{op}: all tensors must be on one device; got meta and cpu."):
        run(op, a, b.to("meta"))
    for k in range(len(args)):
        with pytest.raises(ValueError, match=says):
            getattr(ops, op)(a, b, *args[:k], args[k].to("meta"), *args[k + 1 :], **cases.CALLS[op].ways[0])


@pytest.mark.parametrize("call", [ops.gram, torch.ops.infotorch.gram])
def test_refuses_a_second_set_on_another_device(call, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    with pytest.raises(ValueError, match=r"gram: all tensors must be on one device; got cpu and meta. Move one"):
        call(a, b, a.to("meta"), b.to("meta"))


@every_op_with_out
def test_refuses_an_out_within_the_inputs(op, rng):
    """Kernels write before they have read everything."""
    a, b = cases.make_pair(8, 8, 8, 8, rng)
    size = run(op, a, b).shape
    room = torch.empty(1 + 2 * size.numel() + a.numel(), dtype=a.dtype)
    out, behind = room[: size.numel()].view(size), room[size.numel() :]
    for first in (0, size.numel() - 1):
        near = room[first : first + a.numel()].view_as(a)
        for pair in ((near, b), (a, near)):
            says = rf"{op}: out must not share memory with the inputs; got .* one of \[8, 8, 8\]. Allocate it apart"
            with pytest.raises(ValueError, match=says):
                run(op, *pair, out=out)
    beside = behind[: a.numel()].view_as(a).copy_(a)
    assert_same_bits(run(op, beside, b, out=out), run(op, a, b))
    if op == "gram":
        with pytest.raises(ValueError, match="gram: out must not share memory with the inputs"):
            ops.gram(a, b, a, room[: b.numel()].view_as(b), out=out)


@every_op_with_out
def test_refuses_an_out_on_another_device(op, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    with pytest.raises(ValueError, match=f"{op}: all tensors must be on one device; got cpu and meta."):
        run(op, a, b, out=run(op, a, b).to("meta"))


@every_op_with_out
@every_half
def test_out_for_16_bits_is_float32(op, half, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng, half)
    want = run(op, a, b)
    assert_same_bits(run(op, a, b, out=torch.full_like(want, torch.nan)), want)
    with pytest.raises(ValueError, match=f"{op}: out must be float32; got {half}.".replace("torch.", "")):
        run(op, a, b, out=want.to(half))


@every_op
def test_refuses_integers_beside_the_pair(op, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    args = cases.arguments(op, a, b)
    for k in range(len(args)):
        with pytest.raises(ValueError, match=f"{op}: . must be of b's dtype; got int64. Convert with ..to"):
            getattr(ops, op)(a, b, *args[:k], args[k].long(), *args[k + 1 :], **cases.CALLS[op].ways[0])
