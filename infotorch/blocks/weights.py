"""A task's selected parameters as one vector, and the task at another one: on a copy, or for a moment."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.blocks.layout import flattened, split, vectors_of
from infotorch.errors import ConfigError, NumericsError
from infotorch.task import Task

__all__ = ["Weights", "check_finite", "check_task", "own_weights", "vector_of", "weights_at", "with_weights"]

Weights = Tensor | Mapping[str, Tensor] | nn.Module
"""A vector [P] in ``named_parameters`` order, a state dict, or a module."""


def with_weights(task: Task, weights: Weights) -> Task:
    """The task on a copy of its model that has other weights; the model that was passed in stays as it is.

    Args:
        task: Model, loss and parameters.
        weights: Of the selected parameters: [P] in ``named_parameters`` order, a state dict or a module of the same
            names, of which others are not looked at. They come in the model's dtype.

    Raises:
        NumericsError: A weight is not finite.
        ShapeError: A parameter lacks an entry, or sizes disagree.

    Example:
        >>> task = Task(nn.Linear(2, 1).eval(), loss="mse")
        >>> with_weights(task, torch.tensor([1.0, 2.0, 3.0])).outputs(torch.ones(1, 2))
        tensor([[6.]], grad_fn=<AddmmBackward0>)
    """
    check_task("with_weights", task)
    values = split(vector_of("with_weights", "weights", weights, task), task.shapes)
    moved = replace(task, model=copy.deepcopy(task.model))
    with torch.no_grad():
        for name, parameter in moved.parameters().items():
            parameter.copy_(values[name])
    return moved


def check_task(where: str, task: Any) -> None:
    """Refuse what is no task."""
    if not isinstance(task, Task):
        raise ConfigError(f"{where}: task must be a Task; got {type(task).__name__}. Pass Task(model, loss=...).")


@contextmanager
def weights_at(task: Task, w: Tensor) -> Iterator[None]:
    """The model with the selected parameters at w [P]; its own tensors are back afterwards, whatever happens."""
    parameters = task.parameters()
    own = {name: p.data for name, p in parameters.items()}
    try:
        for name, part in split(w, task.shapes).items():
            parameters[name].data = part.to(own[name])
        yield
    finally:
        for name, p in parameters.items():
            p.data = own[name]


def own_weights(where: str, task: Task) -> Tensor:
    """The selected parameters, float64 [P], a copy."""
    return vector_of(where, "the model", task.parameters(), task)


def vector_of(where: str, what: str, weights: Any, task: Task) -> Tensor:
    """Float64 [P] on the model's device.

    Raises:
        NumericsError: A weight is not finite.
        ShapeError: A parameter lacks an entry, or sizes disagree.
    """
    shapes = task.shapes
    if isinstance(weights, nn.Module):
        weights = weights.state_dict()
    if isinstance(weights, Mapping):  # a state dict has buffers and frozen parameters too
        weights = {name: value.detach() for name, value in weights.items() if name in shapes}
    parts, _ = vectors_of(where, what, weights, shapes)
    check_finite(where, what, parts)
    device = next(iter(task.parameters().values())).device
    return flattened({name: part[0].detach().to(device, torch.float64) for name, part in parts.items()}, shapes)


def check_finite(
    where: str,
    what: str,
    parts: Mapping[str, Any],
    remedy: str = "Take weights of a training that has not diverged.",
) -> None:
    """Refuses weights that are not finite; the text names the first parameter with one."""
    for name, part in parts.items():
        if isinstance(part, Tensor) and part.is_floating_point() and not bool(part.isfinite().all()):
            raise NumericsError(
                f"{where}: weights must be finite; got {float(part[~part.isfinite()][0])} in {name!r} of {what}. "
                f"{remedy}"
            )
