"""What holds for every op on a pair: registration, gradients, compilation, and the refusals."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from infotorch import ops
from infotorch.errors import NotSupported
from tests.laws import assert_same
from tests.ops import cases
from tests.ops.cases import parts, run

every_op = pytest.mark.parametrize("op", ops.__all__)
every_differentiable_op = pytest.mark.parametrize("op", [op for op, call in cases.CALLS.items() if call.differentiable])


def test_every_op_has_a_line_in_the_table():
    assert sorted(cases.CALLS) == sorted(ops.__all__)


@every_differentiable_op
@pytest.mark.parametrize("bias", [False, True])
def test_gradient(op, bias, rng):
    a, b = (x.requires_grad_() for x in cases.make_pair(2, 6, 4, 5, rng))
    assert torch.autograd.gradcheck(lambda a, b: run(op, a, b, bias=bias), (a, b))
    patches = a.detach().reshape(2, 2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: run(op, a, b, bias=bias, t_dims=2), (patches, b))


@every_differentiable_op
@pytest.mark.parametrize("bias", [False, True])
def test_gradient_with_indices(op, bias, rng):
    ids, b = cases.make_index_pair(2, 6, 4, 5, rng)
    assert torch.autograd.gradcheck(lambda b: run(op, ids, b, bias=bias, in_features=4), b.requires_grad_())


@pytest.mark.parametrize("bias", [False, True])
def test_gradient_of_gram_of_two_sets(bias, rng):
    first, second = cases.make_pair(2, 3, 4, 5, rng), cases.make_pair(3, 2, 4, 5, rng)
    pairs = [x.requires_grad_() for x in (*first, *second)]
    assert torch.autograd.gradcheck(lambda *pairs: ops.gram(*pairs, bias=bias), pairs)


@pytest.mark.parametrize("shape", [(2,), (3, 2)], ids=str)
def test_gradient_of_vjp_by_its_weights(shape, rng):
    a, b = cases.make_pair(2, 3, 4, 5, rng)
    w = torch.randn(shape, dtype=torch.float64, generator=rng, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: ops.vjp(a, b, w, bias=True), w)


@every_op
def test_registration_passes_torchs_own_list(op, rng):
    call = cases.CALLS[op]
    a, b = (x.requires_grad_(call.differentiable) for x in cases.make_pair(2, 3, 4, 5, rng))
    extra = cases.arguments(op, a, b)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).default, (a, b, *extra), call.ways[0])
    ids, b = cases.make_index_pair(2, 3, 4, 5, rng)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).default, (ids, b, *extra), call.ways[0] | {"in_features": 4})


@pytest.mark.parametrize("op, size", [("grads", (2, 5, 4)), ("gram", (2, 2))])
def test_registration_with_out_passes_torchs_own_list(op, size, rng):
    a, b = cases.make_pair(2, 3, 4, 5, rng)
    between = (None, None) if op == "gram" else ()
    after = ("auto",) if op == "gram" else ()
    out = torch.empty(size, dtype=torch.float64)
    args = (a, b, *between, False, 1, None, *after)
    torch.library.opcheck(getattr(torch.ops.infotorch, op).out, args, {"out": out})


@every_op
def test_compiles_whole(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    compiled = torch.compile(lambda a, b: run(op, a * 2, b, bias=True), fullgraph=True, backend="aot_eager")
    for got, want in zip(parts(compiled(a, b)), parts(run(op, a * 2, b, bias=True)), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("op, size", [("grads", (2, 5, 4)), ("gram", (2, 2))])
def test_compiles_whole_with_out(op, size, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
    out = torch.empty(size, dtype=torch.float64)
    torch.compile(lambda a, b, out: run(op, a, b, out=out), fullgraph=True, backend="aot_eager")(a, b, out)
    assert_same(out, run(op, a, b))


@every_op
def test_meta_tensors_tell_the_shape(op, rng):
    a, b = cases.make_pair(2, 6, 4, 5, rng)
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
    "half": (
        lambda a, b: (a.half(), b.half(), {}),
        r"a must be float32, float64, or int64 indices; got float16. Convert with a.float\(\).",
    ),
    "integers in b": (
        lambda a, b: (a, b.long(), {}),
        r"b must be float32 or float64; got int64. Convert with b.float\(\).",
    ),
    "int32 indices": (
        lambda a, b: (a[..., 0].int(), b, {"in_features": 8}),
        r"a must be float32, float64, or int64 indices; got int32. Convert",
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
def test_a_cuda_tensor_needs_cuda_kernels(op):
    with FakeTensorMode(allow_non_fake_inputs=True):
        a, b = torch.empty(2, 3, 8, device="cuda"), torch.empty(2, 3, 5, device="cuda")
        with pytest.raises(NotSupported, match=f"{op}: this build has CPU kernels only; got a tensor on cuda. Move"):
            run(op, a, b)
