"""Opacus: its hooks, its functorch form, and ghost norms."""

import warnings
from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch import Tensor

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.expanded_weights import taken
from benchmarks.engine.rivals.readings import Call, forms, merged

PACKAGE = "opacus"
warnings.filterwarnings("ignore", message="(Full b|Using a non-full b|b)ackward hook")


def _backward(model: Callable[[Tensor], Tensor], problem: Problem) -> None:
    outputs = model(problem.x)
    F.cross_entropy(outputs.flatten(0, -2), problem.y.flatten(), reduction="sum").backward()


def gradients(problem: Problem, functorch: bool = False) -> Callable[[], dict[str, Tensor]]:
    problem.model.train()  # its hooks do nothing otherwise; no layer here differs in it
    model = GradSampleModule(problem.model, loss_reduction="sum", strict=False, force_functorch=functorch)

    def call() -> dict[str, Tensor]:
        _backward(model, problem)
        return taken(problem)

    return call


def ghost_norms(problem: Problem) -> Call:
    problem.model.train()
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
    forms("Opacus, functorch", partial(gradients, functorch=True)),
    {"norms": {"Opacus, ghost": ghost_norms}},
)
