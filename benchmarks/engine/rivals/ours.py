"""infotorch: its ops on captured pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call
from benchmarks.engine.workloads import DIM, SEED, comparable, tangents
from infotorch import LayerPair, Task, capture, ntk, ops

PACKAGE = "infotorch"


def task_of(problem: Problem) -> Task:
    """The model with the loss; curvature needs the built-in one."""
    cross_entropy = isinstance(problem.objective, nn.CrossEntropyLoss)
    return Task(problem.model, loss="cross_entropy" if cross_entropy else problem.each)


def _pairs(problem: Problem, seeds: Any = None) -> Callable[[], dict[str, LayerPair]]:
    task, batch = task_of(problem), (problem.x, problem.y)
    return lambda: capture(task, batch, seeds=seeds).pairs


def _flat(pair: LayerPair) -> tuple[Tensor, Tensor]:
    """(a, b) with a row a sample and seed."""
    if pair.b.dim() == 3:
        return pair.a, pair.b
    return pair.a.repeat_interleave(pair.b.shape[1], 0), pair.b.flatten(0, 1)


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    pairs = _pairs(problem)
    arena = {name: p.b.new_empty(len(p.b), p.O, p.I + p.bias) for name, p in pairs().items()}

    def call() -> dict[str, Tensor]:
        out = {}
        for name, p in pairs().items():
            G = ops.grads(p.a, p.b, **p.geometry, out=arena[name])
            out |= p.split(G.view(problem.N, p.groups * p.O, -1))
        return out

    return call


def _norms(problem: Problem) -> Call:
    pairs = _pairs(problem)
    return lambda: sum(ops.norms(p.a, p.b, **p.geometry).view(problem.N, -1).sum(1) for p in pairs().values()).sqrt()


def _gram(problem: Problem) -> Call:
    pairs = _pairs(problem)
    return lambda: sum(ops.gram(p.a, p.b, **p.geometry) for p in pairs().values())


def _kernel(problem: Problem) -> Call:
    task = Task(problem.model)
    return lambda: ntk(task, problem.x).values


def _diagonal(problem: Problem, seeds: Any = None) -> Call:
    pairs = _pairs(problem, seeds)

    def call() -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for p in pairs().values():
            out |= p.split(ops.fisher(*_flat(p), **p.geometry))
        return out

    return call


def _kronecker(problem: Problem, seeds: Any = None) -> Call:
    pairs = _pairs(problem, seeds)

    def call() -> dict[str, Tensor]:
        out = {}
        for name, p in pairs().items():
            if seeds is None:
                A, B = ops.kron(p.a, p.b, **p.geometry)
            else:
                A, _ = ops.kron(p.a, p.b[:, 0], **p.geometry)
                b = p.b.flatten(0, 2)
                B = b.mT @ b
            out[name] = (A / (problem.N * p.T), B)
        return comparable(out)

    return call


def _push(problem: Problem, count: int, seeds: Any = None) -> Call:
    pairs, V = _pairs(problem, seeds), tangents(problem, count)

    def directions(p: LayerPair) -> Tensor:
        weight, *bias = (V[name].flatten(2) if V[name].dim() > 2 else V[name] for name in p.shapes)
        weight = weight.reshape(count, *((p.I, p.O) if p.transposed else (p.O, p.I)))
        weight = weight.mT if p.transposed else weight
        return torch.cat([weight, *(v[:, :, None] for v in bias)], 2) if bias else weight

    def call() -> Tensor:
        out = sum(ops.jvp(*_flat(p), directions(p).contiguous(), **p.geometry) for p in pairs().values())
        out = out[:, 0] if count == 1 else out
        return out if seeds is None else out.unflatten(0, (problem.N, -1))

    return call


def _sketch(problem: Problem) -> Call:
    pairs = _pairs(problem)
    return lambda: sum(ops.project(p.a, p.b, k=DIM, seed=SEED, name=name, **p.geometry) for name, p in pairs().items())


FORMS = {
    workload: {"infotorch": form}
    for workload, form in {
        "psg": gradients,
        "norms": _norms,
        "gram": _gram,
        "ntk": _kernel,
        "diag": _diagonal,
        "diag-exact": partial(_diagonal, seeds="fisher"),
        "kfac": _kronecker,
        "kfac-exact": partial(_kronecker, seeds="fisher"),
        "jvp-1": partial(_push, count=1),
        "jvp-16": partial(_push, count=16),
        "out-jvp-1": partial(_push, count=1, seeds="logits"),
        "out-jvp-16": partial(_push, count=16, seeds="logits"),
        "sketch": _sketch,
    }.items()
}
