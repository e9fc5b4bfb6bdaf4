"""BackPACK: extensions of one backward pass."""

from collections.abc import Callable
from functools import partial

import torch
from backpack import backpack, extend
from backpack.extensions import KFLR, BatchGrad, BatchL2Grad, DiagGGNExact, SumGradSquared
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call, forms, merged
from benchmarks.engine.workloads import listed

PACKAGE = "backpack-for-pytorch"


def _extended(problem: Problem, extension: object) -> Callable[[], dict[str, nn.Parameter]]:
    """A backward pass with one extension; its results lie on the parameters."""
    second_order = isinstance(extension, DiagGGNExact | KFLR)  # these must see every module of the graph
    sequential = all(isinstance(m, nn.Sequential) or not list(m.children()) for m in problem.model.modules())
    model = extend(problem.model, use_converter=second_order and not sequential)
    extend(problem.objective)

    def call() -> dict[str, nn.Parameter]:
        params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        outputs = model(problem.x)
        with backpack(extension):
            problem.total(outputs).backward()
        return params

    return call


def _read(extension: object, field: str, problem: Problem) -> Callable[[], dict[str, Tensor]]:
    names = {id(p): name for name, p in problem.params.items()}
    backward = _extended(problem, extension)

    def call() -> dict[str, Tensor]:
        found = {}
        for p in backward().values():
            found[names[id(p)]] = p.__dict__.pop(field, None)
            p.grad = None
        return found

    return call


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    return _read(BatchGrad(), "grad_batch", problem)


def _norms(problem: Problem) -> Call:
    squares = _read(BatchL2Grad(), "batch_l2", problem)
    return lambda: torch.stack(list(squares().values())).sum(0).sqrt()


def _kronecker(problem: Problem) -> Call:
    """Its B is summed over samples under a summed loss, its A over samples and positions, divided by N."""
    factors = _read(KFLR(), "kflr", problem)

    def call() -> dict[str, Tensor]:
        return listed({name.removesuffix(".weight"): (A, B) for name, (B, A) in factors().items()})

    return call


FORMS = merged(
    forms("BackPACK", gradients),
    {
        "norms": {"BackPACK": _norms},
        "diag": {"BackPACK": partial(_read, SumGradSquared(), "sum_grad_squared")},
        "kfac-exact": {"BackPACK": _kronecker},
        "diag-exact": {"BackPACK": partial(_read, DiagGGNExact(), "diag_ggn_exact")},
    },
)
