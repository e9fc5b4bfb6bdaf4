"""infotorch's public functions, as a user calls them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call
from benchmarks.engine.workloads import DIM, SEED, comparable, cotangents, tangents
from infotorch import Capture, LayerPair, Task, capture, ntk, ops
from infotorch.blocks import Arena, grad_gram, jvp, per_sample_grad_norms, per_sample_grads, sketch, vjp

PACKAGE = "infotorch"


def task_of(problem: Problem) -> Task:
    """The model with the loss; curvature needs the built-in one."""
    cross_entropy = isinstance(problem.objective, nn.CrossEntropyLoss)
    return Task(problem.model, loss="cross_entropy" if cross_entropy else problem.each)


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    task, arena = task_of(problem), Arena()
    return lambda: per_sample_grads(task, (problem.x, problem.y), out=arena)


def gradients_with_fallback(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    task = task_of(problem)
    return lambda: per_sample_grads(capture(task, (problem.x, problem.y), fallback="func"))


def _of_batch(compute: Callable[..., Any], problem: Problem, **options: Any) -> Call:
    task, batch = task_of(problem), (problem.x, problem.y)
    return lambda: compute(task, batch, **options)


def _kernel(problem: Problem) -> Call:
    task = task_of(problem)
    return lambda: ntk(task, problem.x).values


def _push(problem: Problem, count: int, seeds: Any = None) -> Call:
    task, V = task_of(problem), tangents(problem, count)
    V = {name: v[0] for name, v in V.items()} if count == 1 else V
    return lambda: jvp(task, (problem.x, problem.y), V, seeds=seeds)


def _kernel_vector(problem: Problem) -> Call:
    """J (J^T v): one backward with v at the outputs, then a tangent of all outputs."""
    task, v, ones = task_of(problem), cotangents(problem), torch.ones(problem.N, 1)

    def call() -> Tensor:
        u = vjp(capture(task, problem.x, seeds=v[None]), ones)
        return jvp(task, problem.x, u, seeds="logits")

    return call


def _pairs(problem: Problem, seeds: Any = None) -> Callable[[], Capture]:
    task, batch = task_of(problem), (problem.x, problem.y)
    return lambda: capture(task, batch, seeds=seeds)


def _flat(pair: LayerPair) -> tuple[Tensor, Tensor]:
    """(a, b) with a row a sample and seed."""
    if pair.b.dim() == 3:
        return pair.a, pair.b
    return pair.a.repeat_interleave(pair.b.shape[1], 0), pair.b.flatten(0, 1)


def _diagonal(problem: Problem, seeds: Any = None) -> Call:
    captured = _pairs(problem, seeds)

    def call() -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for p in captured().pairs.values():
            out |= p.split(ops.fisher(*_flat(p), **p.geometry))
        return out

    return call


def _kronecker(problem: Problem, seeds: Any = None) -> Call:
    captured = _pairs(problem, seeds)

    def call() -> dict[str, Tensor]:
        out = {}
        for name, p in captured().pairs.items():
            if seeds is None:
                A, B = ops.kron(p.a, p.b, **p.geometry)
            else:
                A, _ = ops.kron(p.a, p.b[:, 0], **p.geometry)
                b = p.b.flatten(0, 2)
                B = b.mT @ b
            out[name] = (A / (problem.N * p.T), B)
        return comparable(out)

    return call


FORMS = {
    workload: {"infotorch": form}
    for workload, form in {
        "psg": gradients,
        "norms": partial(_of_batch, per_sample_grad_norms),
        "gram": partial(_of_batch, grad_gram),
        "ntk": _kernel,
        "diag": _diagonal,
        "diag-exact": partial(_diagonal, seeds="fisher"),
        "kfac": _kronecker,
        "kfac-exact": partial(_kronecker, seeds="fisher"),
        "jvp-1": partial(_push, count=1),
        "jvp-16": partial(_push, count=16),
        "out-jvp-1": partial(_push, count=1, seeds="logits"),
        "out-jvp-16": partial(_push, count=16, seeds="logits"),
        "ntk-vector": _kernel_vector,
        "sketch": partial(_of_batch, sketch, dim=DIM, seed=SEED),
    }.items()
}
