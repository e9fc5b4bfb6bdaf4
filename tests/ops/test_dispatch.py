"""What holds for every op beside its numbers: registration, gradients, compilation, and what autograd may not do."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from infotorch import _C, ops
from infotorch.errors import NotSupported
from tests.laws import assert_same
from tests.ops import cases
from tests.ops.cases import parts, run

OUT = [op for op in cases.CALLS if "out" in getattr(torch.ops.infotorch, op).overloads()]
every_op = pytest.mark.parametrize("op", list(cases.CALLS))
every_op_with_out = pytest.mark.parametrize("op", OUT)
every_differentiable_op = pytest.mark.parametrize("op", [op for op, call in cases.CALLS.items() if call.differentiable])
every_op_without_a_way_back = pytest.mark.parametrize(
    "op", [op for op, call in cases.CALLS.items() if not call.differentiable]
)


def positional(op: str, a: Tensor, b: Tensor) -> tuple[Any, ...]:
    """What the registered operator takes, every argument in its place."""
    schema = getattr(torch.ops.infotorch, op).default._schema
    first = (a, b, *cases.arguments(op, a, b))
    own = cases.CALLS[op].ways[0]
    return *first, *(own.get(x.name, x.default_value) for x in schema.arguments[len(first) :])


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


@every_op_with_out
def test_registration_with_out_passes_torchs_own_list(op, rng):
    a, b = cases.make_pair(2, 3, 4, 5, rng)
    args, out = positional(op, a, b), torch.empty_like(run(op, a, b))
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


@every_differentiable_op
def test_no_result_requires_grad_without_a_way_back(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    assert run(op, a.requires_grad_(), b).grad_fn is not None
    assert not run(op, a.detach(), b).requires_grad
    with torch.no_grad():
        assert not run(op, a, b).requires_grad


def with_one_that_requires_grad(op, a, b):
    """((a, b), out), one of the three at a time."""
    tensors = (a, b, run(op, a, b))
    for k in range(3):
        a_too, b_too, out = (x.clone().requires_grad_(k == j) for j, x in enumerate(tensors))
        yield (a_too, b_too), out


@every_op_without_a_way_back
def test_refuses_inputs_that_require_grad(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    says = f"{op}: no tensor may require grad, for there is no way back; got one that does. Detach it, or call under"
    for pair in ((a.clone().requires_grad_(), b), (a, b.clone().requires_grad_())):
        with pytest.raises(NotSupported, match=says):
            run(op, *pair)
        with pytest.raises(NotSupported, match=says):
            getattr(torch.ops.infotorch, op)(*positional(op, *pair))
        with torch.no_grad():
            assert not any(part.requires_grad for part in parts(run(op, *pair)))
    if op in OUT:
        for pair, out in with_one_that_requires_grad(op, a, b):
            with pytest.raises(NotSupported, match=says):
                run(op, *pair, out=out)


@pytest.mark.parametrize("op", [op for op in OUT if cases.CALLS[op].differentiable])
def test_out_takes_no_part_in_autograd(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    says = f"{op}: out= takes no part in autograd; got a tensor that requires grad. Leave out= away, or call under"
    for pair, out in with_one_that_requires_grad(op, a, b):
        with pytest.raises(NotSupported, match=says):
            run(op, *pair, out=out)
        with pytest.raises(NotSupported, match=says):
            getattr(torch.ops.infotorch, op).out(*positional(op, *pair), out=out)
        with torch.no_grad():
            assert run(op, *pair, out=out) is out


@every_op_with_out
def test_autograd_hears_that_out_was_written(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    scale, out = torch.ones((), dtype=a.dtype, requires_grad=True), run(op, a, b)
    lost = (scale * out).sum()
    assert run(op, a, b, out=out)._version == 1
    getattr(torch.ops.infotorch, op).out(*positional(op, a, b), out=out)
    assert out._version == 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        lost.backward()
    with torch.inference_mode():
        assert run(op, a, b, out=out)._version == 3
        run(op, a, b, out=torch.empty_like(out))  # which has no version


@every_op
def test_refuses_tangents_of_forward_mode(op, rng):
    """They would be dropped in silence: the derivative along them would be 0."""
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    args = positional(op, a, b)
    says = f"{op}: no tensor may carry a forward-mode tangent; got one that does. "
    for k, x in enumerate(args):
        if isinstance(x, Tensor):
            with forward_ad.dual_level(), pytest.raises(NotSupported, match=says):
                dual = forward_ad.make_dual(x, torch.ones_like(x))
                getattr(torch.ops.infotorch, op)(*args[:k], dual, *args[k + 1 :])
    for transform in (lambda f: torch.func.jvp(f, (a,), (a,)), lambda f: torch.func.jacfwd(f)(a)):
        with pytest.raises(NotSupported, match=says):
            transform(lambda a: run(op, a, b))
    if op in OUT:
        with forward_ad.dual_level(), pytest.raises(NotSupported, match=says):
            run(op, a, b, out=forward_ad.make_dual(run(op, a, b), run(op, a, b)))


@every_differentiable_op
def test_refuses_to_be_differentiated_by_torch_func(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    says = f"{op}: no tensor may be differentiated by torch.func; got one that is. Call torch.autograd.grad."
    with pytest.raises(NotSupported, match=says):
        torch.func.grad(lambda a: run(op, a, b).sum())(a)
    with pytest.raises(NotSupported, match=says):
        torch.func.grad(lambda a: getattr(torch.ops.infotorch, op)(*positional(op, a, b)).sum())(a)
    for transform in (torch.func.jacrev, torch.func.hessian):
        with pytest.raises(NotSupported, match=says):
            transform(lambda b: run(op, a, b))(b)
    with pytest.raises(NotSupported, match=says):
        torch.func.vjp(lambda a, b: run(op, a, b), a, b)


@every_op
def test_is_a_constant_to_the_transforms_of_others(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    a.requires_grad_(cases.CALLS[op].differentiable)
    want = parts(run(op, a, b))[0].detach().sum()

    def scaled(c):
        return c * parts(run(op, a, b))[0].sum()

    one = torch.ones((), dtype=a.dtype)
    assert_same(torch.func.grad(scaled)(one).detach(), want)
    assert_same(torch.func.jvp(scaled, (one,), (one,))[1].detach(), want)
    assert_same(torch.func.vmap(scaled)(one[None])[0].detach(), want)
    with forward_ad.dual_level():
        assert_same(forward_ad.unpack_dual(scaled(forward_ad.make_dual(one, one))).tangent.detach(), want)


@every_op
@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"a": [1]}, "a must be of type Tensor; got list"),
        ({"a": None}, "a must be of type Tensor; got None"),
        ({"b": None}, "b must be of type Tensor; got None"),
        ({"t_dims": 1.5}, "t_dims must be of type int; got float"),
        ({"bias": "no"}, "bias must be of type bool; got str"),
    ],
    ids=str,
)
def test_refuses_what_is_of_another_type(op, wrong, says, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    args = cases.arguments(op, a, b)
    options = cases.CALLS[op].ways[0] | wrong
    with pytest.raises(TypeError, match=f"^{op}: {says}. Convert it, or leave out what has a default.$"):
        getattr(ops, op)(options.pop("a", a), options.pop("b", b), *args, **options)


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
def test_a_cuda_tensor_needs_cuda_kernels(op, rng):
    """What runs for one, handed tensors of the CPU."""
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    a, b = cases.make_pair(2, 3, 8, 5, rng)
    says = f"{op}: this build has CPU kernels only; got a tensor on cuda. Build with INFOTORCH_CUDA=1"
    with pytest.raises(NotSupported, match=says):
        getattr(torch.ops.infotorch, op).default.redispatch(cuda, *positional(op, a, b))
    if op in OUT:
        with pytest.raises(NotSupported, match=says):
            getattr(torch.ops.infotorch, op).out.redispatch(cuda, *positional(op, a, b), out=run(op, a, b))
