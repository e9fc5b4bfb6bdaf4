"""Opacus: its hooks, its functorch form, and ghost norms."""

import warnings
from collections.abc import Callable
from functools import partial

from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.expanded_weights import taken
from benchmarks.engine.rivals.readings import Call, forms, merged

PACKAGE = "opacus"
warnings.filterwarnings("ignore", message="(Full b|Using a non-full b|b)ackward hook")


def _backward(model: Callable[[Tensor], Tensor], problem: Problem) -> None:
    problem.total(model(problem.x)).backward()


def _listening(model: nn.Module) -> None:
    """Its hooks do nothing in eval mode; layers that compute something else in train mode stay as they are."""
    for module in model.modules():
        module.training = module.training or not isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout)


def gradients(problem: Problem, functorch: bool = False) -> Callable[[], dict[str, Tensor]]:
    _listening(problem.model)
    model = GradSampleModule(problem.model, loss_reduction="sum", strict=False, force_functorch=functorch)

    def call() -> dict[str, Tensor]:
        _backward(model, problem)
        return taken(problem)

    return call


def expanded(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    _listening(problem.model)
    model = GradSampleModuleExpandedWeights(problem.model, loss_reduction="sum")

    def call() -> dict[str, Tensor]:
        _backward(model, problem)
        return taken(problem)

    return call


def ghost_norms(problem: Problem) -> Call:
    _listening(problem.model)
    model = GradSampleModuleFastGradientClipping(
        problem.model, loss_reduction="sum", strict=False, use_ghost_clipping=True
    )

    def call() -> Tensor:
        _backward(model, problem)
        norms = model.get_norm_sample()
        for p in problem.params.values():
            p.grad = p._norm_sample = None
        return norms

    return call


FORMS = merged(
    forms("Opacus, hooks", gradients),
    forms("Opacus, ewf", expanded),
    forms("Opacus, functorch", partial(gradients, functorch=True)),
    {"norms": {"Opacus, ghost": ghost_norms}},
)
