"""infotorch's public functions, as a user calls them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call
from benchmarks.engine.workloads import DIM, SEED, cotangents, listed, tangents
from infotorch import (
    Arena,
    Task,
    capture,
    fisher,
    grad_gram,
    jvp,
    ntk,
    per_sample_grad_norms,
    per_sample_grads,
    sketch,
    vjp,
)
from infotorch.blocks import Kronecker

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


def _diagonal(problem: Problem, labels: Any) -> Call:
    task, batch = task_of(problem), (problem.x, problem.y)
    return lambda: fisher(task, batch, structure="diagonal", labels=labels).values


def _listed(f: Kronecker) -> dict[str, Tensor]:
    return listed({f.weight.removesuffix(".weight"): (f.A[0], f.B[0])}, 1 / f.positions)


def _kronecker(problem: Problem, labels: Any) -> Call:
    task, batch = task_of(problem), (problem.x, problem.y)

    def call() -> dict[str, Tensor]:
        layers = fisher(task, batch, structure="kfac", labels=labels).factors
        return {key: part for f in layers for key, part in _listed(f).items()}

    return call


FORMS = {
    workload: {"infotorch": form}
    for workload, form in {
        "psg": gradients,
        "norms": partial(_of_batch, per_sample_grad_norms),
        "gram": partial(_of_batch, grad_gram),
        "ntk": _kernel,
        "diag": partial(_diagonal, labels="empirical"),
        "diag-exact": partial(_diagonal, labels="exact"),
        "kfac": partial(_kronecker, labels="empirical"),
        "kfac-exact": partial(_kronecker, labels="exact"),
        "jvp-1": partial(_push, count=1),
        "jvp-16": partial(_push, count=16),
        "out-jvp-1": partial(_push, count=1, seeds="logits"),
        "out-jvp-16": partial(_push, count=16, seeds="logits"),
        "ntk-vector": _kernel_vector,
        "sketch": partial(_of_batch, sketch, dim=DIM, seed=SEED),
    }.items()
}
