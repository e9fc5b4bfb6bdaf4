"""torch.func: vmap over grad, jacrev and jvp, whole and in chunks of a quarter of the batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from torch import Tensor
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call, Form, forms, merged
from benchmarks.engine.workloads import cotangents, softmax_root, tangents

Params = dict[str, Tensor]

PACKAGE = "torch"


def _params(problem: Problem) -> Params:
    return {name: p.detach() for name, p in problem.params.items()}


def _size(problem: Problem, chunks: int) -> int | None:
    return None if chunks == 1 else -(-problem.N // chunks)


def gradients(problem: Problem, chunks: int = 1) -> Callable[[], Params]:
    def one(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return problem.each(functional_call(problem.model, params, (x[None],)), y[None]).sum()

    each = vmap(grad(one), in_dims=(None, 0, 0), chunk_size=_size(problem, chunks))
    return lambda: each(_params(problem), problem.x, problem.y)


def _kernel(problem: Problem, chunks: int = 1) -> Call:
    def one(params: Params, x: Tensor) -> Tensor:
        return functional_call(problem.model, params, (x[None],))[0]

    each, N = vmap(jacrev(one), in_dims=(None, 0), chunk_size=_size(problem, chunks)), problem.N

    def call() -> Tensor:
        rows = [j.flatten(0, 1).flatten(1) for j in each(_params(problem), problem.x).values()]
        return sum(j @ j.mT for j in rows).view(N, 10, N, 10)

    return call


def _diagonal_exact(problem: Problem, chunks: int = 1) -> Call:
    def one(params: Params, x: Tensor) -> Params:
        outputs, pull = vjp(lambda p: functional_call(problem.model, p, (x[None],)), params)
        (rows,) = vmap(pull)(softmax_root(outputs)[0].mT[:, None])
        return {name: row.square().sum(0) for name, row in rows.items()}

    each = vmap(one, in_dims=(None, 0), chunk_size=_size(problem, chunks))
    return lambda: {name: part.sum(0) for name, part in each(_params(problem), problem.x).items()}


def plain_attention() -> AbstractContextManager[None]:
    """The one form of attention that has forward mode."""
    return sdpa_kernel(SDPBackend.MATH)


def _outputs(problem: Problem) -> Callable[[Params], Tensor]:
    return lambda params: functional_call(problem.model, params, (problem.x,))


def _losses(problem: Problem) -> Callable[[Params], Tensor]:
    return lambda params: problem.each(functional_call(problem.model, params, (problem.x,)), problem.y)


def _push(of: Callable[[Problem], Callable[[Params], Tensor]], count: int, problem: Problem) -> Call:
    fn, V = of(problem), tangents(problem, count)

    def along(v: Params) -> Tensor:
        with plain_attention():
            return jvp(fn, (_params(problem),), (v,))[1]

    if count == 1:
        one = {name: v[0] for name, v in V.items()}
        return lambda: along(one)
    return lambda: vmap(along, out_dims=-1)(V)


def _kernel_vector(problem: Problem) -> Call:
    fn, v = _outputs(problem), cotangents(problem)

    def call() -> Tensor:
        params = _params(problem)
        with plain_attention():
            return jvp(fn, (params,), vjp(fn, params)[1](v))[1]

    return call


def _in_chunks(make: Callable[..., Call]) -> dict[str, Form]:
    return {"torch.func": make, "torch.func, 4 chunks": partial(make, chunks=4)}


FORMS = merged(
    forms("torch.func", gradients),
    forms("torch.func, 4 chunks", partial(gradients, chunks=4)),
    {
        "ntk": _in_chunks(_kernel),
        "diag-exact": _in_chunks(_diagonal_exact),
        "ntk-vector": {"torch.func": _kernel_vector},
        "jvp-1": {"torch.func": partial(_push, _losses, 1)},
        "jvp-16": {"torch.func": partial(_push, _losses, 16)},
        "out-jvp-1": {"torch.func": partial(_push, _outputs, 1)},
        "out-jvp-16": {"torch.func": partial(_push, _outputs, 16)},
    },
)
