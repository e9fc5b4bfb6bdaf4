"""What holds for every op on a pair: registration, gradients, compilation, 16-bit inputs, and the refusals."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from infotorch import _C, ops
from infotorch.errors import NotSupported
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases
from tests.ops.cases import parts, run

every_op = pytest.mark.parametrize("op", ops.__all__)
every_way = pytest.mark.parametrize("op, way", cases.WAYS, ids=str)
every_half = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
every_op_with_out = pytest.mark.parametrize(
    "op", [op for op in ops.__all__ if "out" in getattr(torch.ops.infotorch, op).overloads()]
)
every_differentiable_op = pytest.mark.parametrize("op", [op for op, call in cases.CALLS.items() if call.differentiable])


def test_every_op_has_a_line_in_the_table():
    assert sorted(cases.CALLS) == sorted(ops.__all__)


@every_differentiable_op
@pytest.mark.parametrize("T", [6, 2])  # many and few beside a gradient's 20 numbers
@pytest.mark.parametrize("bias", [False, True])
def test_gradient(op, bias, T, rng):
    a, b = (x.requires_grad_() for x in cases.make_pair(2, T, 4, 5, rng))
    assert torch.autograd.gradcheck(lambda a, b: run(op, a, b, bias=bias), (a, b))
    patches = a.detach().reshape(2, 2, T // 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: run(op, a, b, bias=bias, t_dims=2), (patches, b))


@every_differentiable_op
@pytest.mark.parametrize("T", [6, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_gradient_with_indices(op, bias, T, rng):
    ids, b = cases.make_index_pair(2, T, 4, 5, rng)
    assert torch.autograd.gradcheck(lambda b: run(op, ids, b, bias=bias, in_features=4), b.requires_grad_())


@pytest.mark.parametrize("bias", [False, True])
def test_gradient_of_gram_of_two_sets(bias, rng):
    first, second = cases.make_pair(2, 3, 4, 5, rng), cases.make_pair(3, 2, 4, 5, rng)
    pairs = [x.requires_grad_() for x in (*first, *second)]
    assert torch.autograd.gradcheck(lambda *pairs: ops.gram(*pairs, bias=bias), pairs)


@pytest.mark.parametrize("op, shape", [("vjp", (2,)), ("vjp", (3, 2)), ("jvp", (5, 5)), ("jvp", (3, 5, 5))], ids=str)
def test_gradient_by_what_is_beside_the_pair(op, shape, rng):
    a, b = cases.make_pair(2, 3, 4, 5, rng)
    beside = torch.randn(shape, dtype=torch.float64, generator=rng)
    inputs = [x.requires_grad_() for x in (a, b, beside)]
    assert torch.autograd.gradcheck(lambda *inputs: getattr(ops, op)(*inputs, bias=True), inputs)
    ids, b = cases.make_index_pair(2, 3, 4, 5, rng)
    inputs = [x.requires_grad_() for x in (b, beside)]
    assert torch.autograd.gradcheck(lambda *inputs: getattr(ops, op)(ids, *inputs, bias=True, in_features=4), inputs)


@every_op
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_registration_passes_torchs_own_list(op, dtype, rng):
    call = cases.CALLS[op]
    a, b = (x.requires_grad_(call.differentiable) for x in cases.make_pair(2, 3, 4, 5, rng, dtype))
    extra = cases.arguments(op, a, b)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).default, (a, b, *extra), call.ways[0])
    ids, b = cases.make_index_pair(2, 3, 4, 5, rng, dtype)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).default, (ids, b, *extra), call.ways[0] | {"in_features": 4})


@pytest.mark.parametrize("op, size", [("grads", (2, 5, 4)), ("gram", (2, 2))])
def test_registration_with_out_passes_torchs_own_list(op, size, rng):
    a, b = cases.make_pair(2, 3, 4, 5, rng)
    between = (None, None) if op == "gram" else ()
    after = ("auto", False) if op == "gram" else ()
    out = torch.empty(size, dtype=torch.float64)
    args = (a, b, *between, False, 1, None, *after)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).out, args, {"out": out})


@every_op
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_compiles_whole(op, dtype, rng):
    torch._dynamo.reset()  # the compilations of one function add up to a limit
    a, b = cases.make_pair(2, 6, 4, 5, rng, dtype)
    compiled = torch.compile(lambda a, b: run(op, a * 2, b, bias=True), fullgraph=True, backend="aot_eager")
    for got, want in zip(parts(compiled(a, b)), parts(run(op, a * 2, b, bias=True)), strict=True):
        assert_same(got, want)


@every_op_with_out
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_compiles_whole_with_out(op, dtype, rng):
    torch._dynamo.reset()
    a, b = cases.make_pair(2, 6, 4, 5, rng, dtype)
    out = torch.full_like(run(op, a, b), torch.nan)
    torch.compile(lambda a, b, out: run(op, a, b, out=out), fullgraph=True, backend="aot_eager")(a, b, out)
    assert_same(out, run(op, a, b))


@every_op
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_meta_tensors_tell_the_shape(op, dtype, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng, dtype)
    fakes = parts(run(op, a.to("meta"), b.to("meta"), bias=True))
    for fake, real in zip(fakes, parts(run(op, a, b, bias=True)), strict=True):
        assert fake.shape == real.shape and fake.dtype == real.dtype


@every_differentiable_op
def test_no_result_requires_grad_without_a_way_back(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    assert run(op, a.requires_grad_(), b).grad_fn is not None
    assert not run(op, a.detach(), b).requires_grad
    with torch.no_grad():
        assert not run(op, a, b).requires_grad


every_op_without_a_way_back = pytest.mark.parametrize(
    "op", [op for op, call in cases.CALLS.items() if not call.differentiable]
)


@every_op_without_a_way_back
def test_refuses_inputs_that_require_grad(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    args = cases.arguments(op, a, b)
    says = f"{op}: no tensor may require grad, for there is no way back; got one that does. Detach it, or call under"
    for pair in ((a.clone().requires_grad_(), b), (a, b.clone().requires_grad_())):
        with pytest.raises(NotSupported, match=says):
            run(op, *pair)
        with pytest.raises(NotSupported, match=says):
            getattr(torch.ops.infotorch, op)(*pair, *args, **cases.CALLS[op].ways[0])
        with torch.no_grad():
            assert not any(part.requires_grad for part in parts(run(op, *pair)))
    if "out" in getattr(torch.ops.infotorch, op).overloads():
        with pytest.raises(NotSupported, match=says):
            run(op, a.clone().requires_grad_(), b, out=run(op, a, b))
        with pytest.raises(NotSupported, match=says):
            run(op, a, b, out=run(op, a, b).requires_grad_())


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
        r"and b \[N, T, O\]; got a \[2, 3, 8\] and b \[2, 5\]. Insert",
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
        "a must be float64, float32, bfloat16, float16, or int64 indices; got int32. Convert",
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


@every_op
@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(op, case, rng):
    spoil, says = REFUSALS[case]
    a, b, options = spoil(*cases.make_pair(2, 3, 8, 5, rng))
    with pytest.raises(ValueError, match=f"{op}: .*{says}" if says.startswith("and") else f"{op}: {says}"):
        run(op, a, b, **options)


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
    with pytest.raises(
        ValueError, match=f"{op}: out must be float32 and on b's device; got {half}.".replace("torch.", "")
    ):
        run(op, a, b, out=want.to(half))


@every_op
def test_refuses_integers_beside_the_pair(op, rng):
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    args = cases.arguments(op, a, b)
    for k in range(len(args)):
        with pytest.raises(ValueError, match=f"{op}: . must be of b's dtype and device; got int64. Convert with ..to"):
            getattr(ops, op)(a, b, *args[:k], args[k].long(), *args[k + 1 :], **cases.CALLS[op].ways[0])


@every_op
def test_refuses_vmap(op, rng):
    a, b = (torch.stack([x, x]) for x in cases.make_pair(2, 3, 8, 5, rng))
    says = f"{op}: no tensor may be mapped by torch.func.vmap; got a mapped one. Fold the mapped axis into N, or pass K"
    with pytest.raises(NotSupported, match=says):
        torch.func.vmap(lambda a, b: run(op, a, b))(a, b)
    with pytest.raises(NotSupported, match=says):
        torch.func.vmap(lambda a: run(op, a, b[0]))(a)


@every_op_with_out
def test_refuses_vmap_with_out(op, rng):
    a, b = (torch.stack([x, x]) for x in cases.make_pair(2, 3, 8, 5, rng))
    out = run(op, a[0], b[0])
    with pytest.raises(NotSupported, match=f"{op}: no tensor may be mapped by torch.func.vmap; got a mapped one."):
        torch.func.vmap(lambda a, b: run(op, a, b, out=out))(a, b)


@every_op
@pytest.mark.skipif(bool(_C.build["cuda_archs"]), reason="built with CUDA kernels")
def test_a_cuda_tensor_needs_cuda_kernels(op):
    with FakeTensorMode(allow_non_fake_inputs=True):
        a, b = torch.empty(2, 3, 8, device="cuda"), torch.empty(2, 3, 5, device="cuda")
        says = f"{op}: this build has CPU kernels only; got a tensor on cuda. Build with INFOTORCH_CUDA=1"
        with pytest.raises(NotSupported, match=says):
            run(op, a, b)
