"""What is raced: each workload's samples, what it draws, and its answer by a loop over samples in float64."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from infotorch.ops.reference import words_of

Result = Tensor | dict[str, Tensor]

DIM, SEED = 4096, 7
KRONECKER_LAYERS = (nn.Linear, nn.Conv2d)
"""Layers that have Kronecker factors in every library; of their weights alone, since libraries differ in biases."""
AGREE = 1e-4


def gradients(problem: Problem) -> dict[str, Tensor]:
    """{name: [N, *shape]} of the losses, one sample at a time."""
    params = problem.params
    rows = [
        torch.autograd.grad(problem.each(problem.model(x[None]), y[None]).sum(), list(params.values()))
        for x, y in zip(problem.x, problem.y, strict=True)
    ]
    return {name: torch.stack(column) for name, column in zip(params, zip(*rows, strict=True), strict=True)}


def jacobian(problem: Problem) -> dict[str, Tensor]:
    """{name: [N, C, *shape]} of the outputs [N, C], one at a time."""
    params = problem.params
    rows = []
    for x in problem.x:
        outputs = problem.model(x[None])[0]
        each = [torch.autograd.grad(f, list(params.values()), retain_graph=True) for f in outputs]
        rows.append([torch.stack(column) for column in zip(*each, strict=True)])
    return {name: torch.stack(column) for name, column in zip(params, zip(*rows, strict=True), strict=True)}


def flat(parts: dict[str, Tensor], lead: int) -> Tensor:
    """Entries side by side, behind ``lead`` axes."""
    return torch.cat([part.flatten(lead) for part in parts.values()], lead)


def tangents(problem: Problem, count: int) -> dict[str, Tensor]:
    """{name: [count, *shape]}, standard normal."""
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, *p.shape, generator=rng).to(p.dtype) for name, p in problem.params.items()}


def cotangents(problem: Problem) -> Tensor:
    """[N, 10], standard normal."""
    dtype = next(problem.model.parameters()).dtype
    return torch.randn(problem.N, 10, generator=torch.Generator().manual_seed(2)).to(dtype)


def softmax_root(outputs: Tensor) -> Tensor:
    """S [N, C, C] with S S^T = diag p - p p^T, the Hessian of cross-entropy."""
    p = outputs.softmax(-1)
    return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


def sketch_places(problem: Problem) -> dict[str, tuple[Tensor, Tensor]]:
    """{name: (buckets int64 [*shape], signs [*shape])}: where ``sketch`` puts each element, so that all may."""
    uses = Counter(id(module.weight) for module in problem.model.modules() if hasattr(module, "weight"))
    places = {}
    for name, p in problem.params.items():
        owner = problem.model.get_submodule(name.rpartition(".")[0])
        words = words_of(SEED, name, 0, 2 * p.numel())
        buckets = torch.from_numpy(((words[0::2] * DIM) >> 32).astype("int64"))
        signs = torch.from_numpy(1.0 - 2.0 * (words[1::2] & 1)).to(p.dtype)
        table = isinstance(owner, nn.Embedding) and uses[id(p)] == 1  # counted as it lies in the transposed table
        shape = p.mT.shape if table else p.shape
        found = buckets.view(shape), signs.view(shape)
        places[name] = (found[0].mT, found[1].mT) if table else found
    return places


def placed(grads: dict[str, Tensor], places: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Sketches [N, dim] of gradients that are there."""
    first = next(iter(grads.values()))
    out = first.new_zeros(len(first), DIM)
    for name, g in grads.items():
        buckets, signs = places[name]
        out.index_add_(1, buckets.flatten(), (g * signs).flatten(1))
    return out


def kronecker_factors(problem: Problem, exact: bool) -> dict[str, Tensor]:
    """Of every weight: sum a a^T / (N T), and sum b b^T at the labels, or over the columns of ``softmax_root``."""
    layers = {
        path: module
        for path, module in problem.model.named_modules()
        if isinstance(module, KRONECKER_LAYERS) and module.weight.requires_grad
    }
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _, args, output, path=path: seen.update({path: (args[0].detach(), output)}))
        for path, module in layers.items()
    ]
    outputs = problem.model(problem.x)
    for handle in handles:
        handle.remove()
    factors = {}
    for path, (x, _) in seen.items():
        module = layers[path]
        if isinstance(module, nn.Conv2d):
            x = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride).mT
        a = x.reshape(-1, x.shape[-1])
        factors[path] = (a.mT @ a / len(a), torch.zeros(()))
    total = outputs if exact else problem.total(outputs)
    for seed in softmax_root(outputs.detach()).unbind(2) if exact else [None]:
        edges = [output for _, output in seen.values()]
        for path, b in zip(seen, torch.autograd.grad(total, edges, seed, retain_graph=True), strict=True):
            b = b.flatten(2).mT.flatten(0, 1) if isinstance(layers[path], nn.Conv2d) else b.flatten(0, -2)
            factors[path] = (factors[path][0], factors[path][1] + b.mT @ b)
    return listed(factors)


def listed(factors: dict[str, tuple[Tensor, Tensor]], scale: float = 1.0) -> dict[str, Tensor]:
    """(A, B) of each layer as they lie, and what their product is to be multiplied by."""
    out = {}
    for path, (A, B) in factors.items():
        out[f"{path}.A"], out[f"{path}.B"], out[f"{path}.scale"] = A, B, torch.tensor(scale)
    return out


def comparable(factors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A and B however a library splits a number between them: A of trace 1. Not part of what is timed."""
    out = {}
    for name, A in factors.items():
        path, _, kind = name.rpartition(".")
        if kind == "A":
            out[name], out[f"{path}.B"] = A / A.trace(), factors[f"{path}.B"] * A.trace() * factors[f"{path}.scale"]
    return out


def _kernel(problem: Problem) -> Tensor:
    J = jacobian(problem)
    return sum(torch.einsum("ncp,mdp->ncmd", j.flatten(2), j.flatten(2)) for j in J.values())


def _diagonal_exact(problem: Problem) -> dict[str, Tensor]:
    with torch.no_grad():
        S = softmax_root(problem.model(problem.x))
    return {name: torch.einsum("nc...,ncr->nr...", j, S).square().sum((0, 1)) for name, j in jacobian(problem).items()}


def _loss_jvp(count: int) -> Callable[[Problem], Tensor]:
    def truth(problem: Problem) -> Tensor:
        out = flat(gradients(problem), 1) @ flat(tangents(problem, count), 1).mT
        return out[:, 0] if count == 1 else out

    return truth


def _output_jvp(count: int) -> Callable[[Problem], Tensor]:
    def truth(problem: Problem) -> Tensor:
        V = tangents(problem, count)
        out = sum(j.flatten(2) @ V[name].flatten(1).mT for name, j in jacobian(problem).items())
        return out[:, :, 0] if count == 1 else out

    return truth


def _kernel_vector(problem: Problem) -> Tensor:
    J = jacobian(problem)
    u = {name: torch.einsum("nc...,nc->...", j, cotangents(problem)) for name, j in J.items()}
    return sum(j.flatten(2) @ u[name].flatten() for name, j in J.items())


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked for, and its answer."""

    title: str
    truth: Callable[[Problem], Result]
    classes: bool = False
    """It asks for every output, so it is run on networks of 10 outputs alone."""
    share: int = 1
    """Its batch is that part of the network's."""
    kronecker: bool = False
    """Of the weights of linear layers and convolutions alone, where none is used twice."""


WORKLOADS = {
    "psg": Workload(title="per-sample gradients, into warm memory where that can be said", truth=gradients),
    "norms": Workload(title="per-sample gradient norms", truth=lambda p: flat(gradients(p), 1).norm(dim=1)),
    "gram": Workload(title="inner products of all gradients", truth=lambda p: _square(flat(gradients(p), 1))),
    "ntk": Workload(title="neural tangent kernel of all outputs", truth=_kernel, classes=True, share=2),
    "diag": Workload(
        title="diagonal Fisher information, empirical",
        truth=lambda p: {name: g.square().sum(0) for name, g in gradients(p).items()},
    ),
    "diag-exact": Workload(title="diagonal Fisher information, exact", truth=_diagonal_exact, classes=True),
    "kfac": Workload(
        title="Kronecker factors, empirical", truth=lambda p: kronecker_factors(p, exact=False), kronecker=True
    ),
    "kfac-exact": Workload(
        title="Kronecker factors, exact",
        truth=lambda p: kronecker_factors(p, exact=True),
        kronecker=True,
        classes=True,
    ),
    "jvp-1": Workload(title="derivatives of the losses along 1 direction", truth=_loss_jvp(1)),
    "jvp-16": Workload(title="derivatives of the losses along 16 directions", truth=_loss_jvp(16)),
    "out-jvp-1": Workload(title="derivatives of the outputs along 1 direction", truth=_output_jvp(1), classes=True),
    "out-jvp-16": Workload(title="derivatives of the outputs along 16 directions", truth=_output_jvp(16), classes=True),
    "ntk-vector": Workload(title="neural tangent kernel times a vector", truth=_kernel_vector, classes=True),
    "sketch": Workload(
        title=f"sketches of the gradients, k = {DIM}",
        truth=lambda p: placed(gradients(p), sketch_places(p)),
        share=2,
    ),
}


def _square(rows: Tensor) -> Tensor:
    return rows @ rows.mT


def difference(got: Result, truth: Result) -> float:
    """Largest relative Frobenius difference of an entry; entries below 1e-3 of the whole are measured by the whole."""
    if isinstance(truth, Tensor) or isinstance(got, Tensor):
        got, truth = {"": got}, {"": truth}  # a wrong kind fails on the names
    if any(name.endswith(".scale") for name in truth):
        got, truth = comparable(got), comparable(truth)
    if got.keys() != truth.keys():
        return float("inf")
    whole = sum(float(t.double().square().sum()) for t in truth.values()) ** 0.5
    worst = 0.0
    for name, t in truth.items():
        if not isinstance(got[name], Tensor) or got[name].shape != t.shape:
            return float("inf")
        scale = max(float(t.double().norm()), 1e-3 * whole)
        worst = max(worst, float((got[name].detach().double() - t.double()).norm()) / scale)
    return worst


def problem_for(workload: Workload, problem: Problem) -> Problem | None:
    """The network's samples and parameters for a workload; None where it has none."""
    if workload.classes and problem.y.dim() > 1:
        return None
    if workload.kronecker:
        problem = problem.weights_of(KRONECKER_LAYERS)
        tables = {id(m.weight) for m in problem.model.modules() if isinstance(m, nn.Embedding)}
        if tables & set(map(id, problem.params.values())):
            return None
    return problem.first(problem.N // workload.share)
