"""What is read off per-sample gradients once they are there, for the libraries that stop at them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from benchmarks.engine.nets import Problem
from benchmarks.engine.workloads import Result, placed, sketch_places

Call = Callable[[], Result]
Form = Callable[[Problem], Call]
Gradients = Callable[[Problem], Callable[[], dict[str, Tensor]]]


def forms(name: str, gradients: Gradients) -> dict[str, dict[str, Form]]:
    """{workload: {name: form}} of everything that gradients are enough for."""
    found: dict[str, dict[str, Form]] = {"psg": {name: gradients}, "sketch": {name: partial(sketch, gradients)}}
    for workload, read in (("norms", _norms), ("gram", _gram), ("diag", _diagonal)):
        found[workload] = {name: partial(_from, gradients, read)}
    return found


def merged(*tables: dict[str, dict[str, Form]]) -> dict[str, dict[str, Form]]:
    """Several such tables as one."""
    out: dict[str, dict[str, Form]] = {}
    for table in tables:
        for workload, entries in table.items():
            out.setdefault(workload, {}).update(entries)
    return out


def _from(gradients: Gradients, read: Callable[[dict[str, Tensor]], Result], problem: Problem) -> Call:
    grads = gradients(problem)
    return lambda: read(grads())


def sketch(gradients: Gradients, problem: Problem) -> Call:
    return _from(gradients, partial(placed, places=sketch_places(problem)), problem)


def _norms(grads: dict[str, Tensor]) -> Tensor:
    return sum(g.flatten(1).square().sum(1) for g in grads.values()).sqrt()


def _gram(grads: dict[str, Tensor]) -> Tensor:
    return sum(g.flatten(1) @ g.flatten(1).mT for g in grads.values())


def _diagonal(grads: dict[str, Tensor]) -> Result:
    return {name: g.square().sum(0) for name, g in grads.items()}
