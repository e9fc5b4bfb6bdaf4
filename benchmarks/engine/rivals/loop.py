"""autograd, one sample at a time."""

from collections.abc import Callable

from torch import Tensor

from benchmarks.engine import workloads
from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call, forms, merged

PACKAGE = "torch"


def _gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    return lambda: workloads.gradients(problem)


def _kernel(problem: Problem) -> Call:
    def call() -> Tensor:
        J = workloads.flat(workloads.jacobian(problem), 2).flatten(0, 1)
        return (J @ J.mT).view(problem.N, 10, problem.N, 10)

    return call


FORMS = merged(forms("loop", _gradients), {"ntk": {"loop": _kernel}})
