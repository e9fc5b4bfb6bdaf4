"""The honest bar: a program in plain torch that keeps each layer's input a and the gradient b at its output.

Gradients by batched products, norms and inner products by the cheaper of two routes, diagonals by squares where
there is one position, Kronecker factors by products, derivatives along directions from the factors. A
parameter that is used twice gets the sum of its gradients, formed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call, sketch
from benchmarks.engine.workloads import KRONECKER_LAYERS, listed, softmax_root, tangents

PACKAGE = "torch"


class Pair(NamedTuple):
    module: nn.Module
    path: str
    a: Tensor  # [N, T, I], ids [N, T], or the normalized input
    b: Tensor  # [N, T, O], [N * K, T, O] for K seeds

    @property
    def plain(self) -> bool:
        return isinstance(self.module, KRONECKER_LAYERS)

    def rows(self) -> Tensor:
        """As many rows of a as of b."""
        return self.a.repeat_interleave(len(self.b) // len(self.a), 0) if len(self.b) > len(self.a) else self.a


def captured(problem: Problem, seeds: Callable[[Tensor], Tensor] | None = None) -> list[Pair]:
    """One forward and one backward a seed, which stops at the layers; ``seeds`` gives [K, N, C] for the outputs."""
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []
    handles = []
    for path, module in problem.model.named_modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            keep = partial(lambda path, module, args, out: calls.append((path, module, args[0].detach(), out)), path)
            handles.append(module.register_forward_hook(keep))
            if isinstance(module, nn.Embedding):
                handles.append(module.register_forward_pre_hook(partial(_expanded, problem.N)))
    outputs = problem.model(problem.x)
    for handle in handles:
        handle.remove()
    edges = [output for *_, output in calls]
    if seeds is None:
        grads = torch.autograd.grad(problem.total(outputs), edges)
    else:
        each = [torch.autograd.grad(outputs, edges, seed, retain_graph=True) for seed in seeds(outputs.detach())]
        grads = [torch.stack(column, 1).flatten(0, 1) for column in zip(*each, strict=True)]
    with torch.no_grad():
        return [_pair(*call[:3], b) for call, b in zip(calls, grads, strict=True)]


def _expanded(N: int, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
    """Positions are looked up once for all samples; here once for each."""
    return (args[0].expand(N, -1),) if args[0].dim() == 1 else None


def _pair(path: str, module: nn.Module, x: Tensor, b: Tensor) -> Pair:
    if isinstance(module, nn.Linear):
        return Pair(module, path, x.reshape(len(x), -1, x.shape[-1]), b.reshape(len(b), -1, b.shape[-1]))
    if isinstance(module, nn.Conv2d):
        a = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride).mT
        return Pair(module, path, a, b.flatten(2).mT)
    if isinstance(module, nn.LayerNorm):
        return Pair(module, path, F.layer_norm(x, module.normalized_shape, eps=module.eps), b)
    if isinstance(module, nn.GroupNorm):
        return Pair(module, path, F.group_norm(x, module.num_groups, eps=module.eps).flatten(2).mT, b.flatten(2).mT)
    assert isinstance(module, nn.Embedding), f"no rule for {type(module).__name__}"
    return Pair(module, path, x, b)


def formed(pair: Pair, out: Tensor | None = None) -> dict[str, Tensor]:
    """{name: [N, *shape]}; the weight's written to ``out``."""
    module, b = pair.module, pair.b
    parts = {}
    if module.weight.requires_grad:
        if pair.plain:
            flat = None if out is None else out.view(len(b), b.shape[-1], -1)
            G = torch.bmm(b.mT, pair.rows(), out=flat)
        elif isinstance(module, nn.Embedding):
            G = b.new_zeros(len(b), *module.weight.shape) if out is None else out.zero_()
            G.scatter_add_(1, pair.rows()[..., None].expand(b.shape), b)
        else:
            G = torch.einsum("ntc,ntc->nc", pair.rows(), b)
        parts["weight"] = G.view(len(b), *module.weight.shape)
    if getattr(module, "bias", None) is not None and module.bias.requires_grad:
        parts["bias"] = b.sum(1)
    return {f"{pair.path}.{name}": G for name, G in parts.items()}


def _groups(pairs: list[Pair]) -> tuple[list[Pair], list[list[Pair]]]:
    """Pairs whose weight is used once, and those that share one."""
    uses = Counter(id(pair.module.weight) for pair in pairs)
    shared = defaultdict(list)
    for pair in pairs:
        if uses[id(pair.module.weight)] > 1:
            shared[id(pair.module.weight)].append(pair)
    return [pair for pair in pairs if uses[id(pair.module.weight)] == 1], list(shared.values())


def _rows(pairs: list[Pair]) -> Tensor:
    """[N, P of these], gradients of a shared weight summed."""
    first, *more = (formed(pair) for pair in pairs)
    for other in more:
        for name, G in zip(first, other.values(), strict=False):
            first[name] = first[name] + G
    return torch.cat([G.flatten(1) for G in first.values()], 1)


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    arena = {name: p.new_empty(problem.N, *p.shape) for name, p in problem.params.items()}
    names = {id(p): name for name, p in problem.params.items()}

    def call() -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for pair in captured(problem):
            own = names.get(id(pair.module.weight))
            for name, G in formed(pair, None if own in out else arena.get(own)).items():
                key = own if name.endswith(".weight") else name
                out[key] = out[key].add_(G) if key in out else G
        return out

    return call


def _norms(problem: Problem) -> Call:
    def square(pair: Pair) -> Tensor:
        (T, O), a, b = pair.b.shape[1:], pair.a, pair.b
        with_bias = getattr(pair.module, "bias", None) is not None and pair.module.bias.requires_grad
        if pair.plain and T * (a.shape[-1] + O) < 2 * a.shape[-1] * O:
            if T == 1:
                return (a.square().sum((1, 2)) + with_bias) * b.square().sum((1, 2))
            return torch.einsum("nts,nts->n", a @ a.mT + with_bias, b @ b.mT)
        if isinstance(pair.module, nn.Embedding):
            return torch.einsum("nts,nts->n", (a[:, :, None] == a[:, None]).to(b.dtype), b @ b.mT)
        return _rows([pair]).square().sum(1)

    def call() -> Tensor:
        once, shared = _groups(captured(problem))
        return sum([square(pair) for pair in once] + [_rows(group).square().sum(1) for group in shared]).sqrt()

    return call


def _inner(pairs: list[Pair]) -> Tensor:
    def inner(pair: Pair) -> Tensor:
        (R, T, O), I = pair.b.shape, pair.a.shape[-1]
        with_bias = getattr(pair.module, "bias", None) is not None and pair.module.bias.requires_grad
        if pair.plain and T == 1:
            aa = pair.a[:, 0] @ pair.a[:, 0].mT + with_bias
            K = R // len(aa)
            bb = pair.b[:, 0] @ pair.b[:, 0].mT
            return (bb.view(R // K, K, R // K, K) * aa[:, None, :, None]).view(R, R) if K > 1 else aa * bb
        if pair.plain and R * T * T * (O + I) < R * I * O + T * I * O:
            a, b = pair.rows().flatten(0, 1), pair.b.flatten(0, 1)
            return ((a @ a.mT + with_bias) * (b @ b.mT)).view(R, T, R, T).sum((1, 3))
        G = _rows([pair])
        return G @ G.mT

    once, shared = _groups(pairs)
    grams = [inner(pair) for pair in once]
    for group in shared:
        G = _rows(group)
        grams.append(G @ G.mT)
    return sum(grams)


def _unit(outputs: Tensor) -> Tensor:
    return torch.eye(outputs.shape[1])[:, None].expand(-1, *outputs.shape)


def _kernel(problem: Problem) -> Call:
    return lambda: _inner(captured(problem, _unit)).view(problem.N, 10, problem.N, 10)


def _diagonal(problem: Problem, seeds: Callable[[Tensor], Tensor] | None = None) -> Call:
    names = {id(p): name for name, p in problem.params.items()}

    def call() -> dict[str, Tensor]:
        once, shared = _groups(captured(problem, seeds))
        out = {}
        for pair in once:
            if pair.plain and pair.b.shape[1] == 1:
                a2 = pair.rows()[:, 0].square()
                b2 = pair.b[:, 0].square()
                out[f"{pair.path}.weight"] = b2.mT @ a2
                out[f"{pair.path}.bias"] = b2.sum(0)
            else:
                out |= {name: G.square_().sum(0) for name, G in formed(pair).items()}
        for group in shared:
            weight = group[0].module.weight
            out[names[id(weight)]] = _rows(group).square().sum(0).view(weight.shape)
        return {name: out[name] for name in problem.params}

    return call


def _kronecker(problem: Problem, seeds: Callable[[Tensor], Tensor] | None = None) -> Call:
    def call() -> dict[str, Tensor]:
        factors = {}
        for pair in captured(problem, seeds):
            a, b = pair.a.flatten(0, 1), pair.b.flatten(0, 1)
            factors[pair.path] = ((a.mT @ a).div_(len(a)), b.mT @ b)
        return listed(factors)

    return call


def _push(problem: Problem, count: int) -> Call:
    V = tangents(problem, count)
    names = {id(p): name for name, p in problem.params.items()}

    def along(pair: Pair) -> Tensor:  # [N, count]
        weight, bias, b = pair.module.weight, getattr(pair.module, "bias", None), pair.b
        out = b.new_zeros(len(b), count)
        if weight.requires_grad:
            v = V[names[id(weight)]]
            if pair.plain:
                z = pair.a @ v.flatten(2).flatten(0, 1).mT  # [N, T, count * O]
                out += torch.einsum("ntjo,nto->nj", z.unflatten(2, (count, -1)), b)
            elif isinstance(pair.module, nn.Embedding):
                out += torch.einsum("jnto,nto->nj", v[:, pair.a], b)
            else:
                out += torch.einsum("ntc,ntc->nc", pair.a, b) @ v.mT
        if bias is not None and bias.requires_grad:
            out += b.sum(1) @ V[names[id(bias)]].mT
        return out

    def call() -> Tensor:
        out = sum(along(pair) for pair in captured(problem))
        return out[:, 0] if count == 1 else out

    return call


def _fisher(outputs: Tensor) -> Tensor:
    return softmax_root(outputs).permute(2, 0, 1)


FORMS = {
    workload: {"plain hooks": form}
    for workload, form in {
        "psg": gradients,
        "norms": _norms,
        "gram": lambda problem: lambda: _inner(captured(problem)),
        "ntk": _kernel,
        "diag": _diagonal,
        "diag-exact": partial(_diagonal, seeds=_fisher),
        "kfac": _kronecker,
        "kfac-exact": partial(_kronecker, seeds=_fisher),
        "jvp-1": partial(_push, count=1),
        "jvp-16": partial(_push, count=16),
        "sketch": partial(sketch, gradients),
    }.items()
}
