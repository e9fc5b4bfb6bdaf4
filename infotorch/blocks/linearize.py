"""Products with the Jacobian of a model's outputs, by forward mode, and with its transpose, by a plain backward."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from infotorch.capture.probe import kept_attributes
from infotorch.errors import NotSupported
from infotorch.task import Task

__all__ = ["add_pulled_back", "has_padding", "output_tangents"]

# How torch words that an operation, or a caller's own Function, has no derivative of this kind.
_NO_TANGENT = re.compile(r"functorch|forward AD|forward[- ]mode|\bjvp\b")


def output_tangents(task: Task, x: Any, V: Mapping[str, Tensor]) -> Tensor:
    """J V of the outputs' Jacobian, [N, C, J], for tangents {name: [J, *shape]}, at about two forwards a tangent.

    Nothing is captured, so layers of every kind will do; all tangents share one pass through the parameters.

    Raises:
        NotSupported: An operation of the forward has no forward-mode derivative.
    """
    task.check_inputs(x)
    parameters = task.parameters()
    primals = {name: p.detach() for name, p in parameters.items()}

    def outputs(values: dict[str, Tensor]) -> Tensor:
        own = {id(p): values[name] for name, p in parameters.items()}
        # Fused attention has no tangent, nor has the encoder layer that torch fuses where no gradient is asked for.
        with _in_place_of(task.model, own), sdpa_kernel(SDPBackend.MATH), _no_fast_path():
            return task.outputs(x).flatten(1)

    def along(tangents: dict[str, Tensor]) -> Tensor:
        return torch.func.jvp(outputs, (primals,), (tangents,))[1]

    tangents = {name: V[name].to(p.dtype) for name, p in primals.items()}
    try:
        with kept_attributes(task.model):  # what a forward keeps would be a tensor of the transform, of no use after it
            if len(next(iter(tangents.values()))) == 1:
                return along({name: t[0] for name, t in tangents.items()})[..., None]
            return torch.vmap(along, out_dims=-1)(tangents)
    except RuntimeError as error:  # NotImplementedError is one
        if not _NO_TANGENT.search(str(error)):
            raise
        raise NotSupported(
            "jvp: every operation of the forward must have a forward-mode derivative; got "
            f"{str(error).splitlines()[0]} "
            'Pass capture(task, x, seeds="logits") in place of task and x.'
        ) from error


def add_pulled_back(total: dict[str, Tensor], task: Task, f: Tensor, u: Tensor | None = None) -> None:
    """Adds J^T u to ``total``, float64 {name: [*shape]} of every selected parameter, or empty at first.

    Nothing is captured, so layers of every kind will do; and no other vector of the parameters is made in float64.

    Args:
        total: To add to.
        task: Whose selected parameters J is of.
        f: What came of them under grad mode, whose Jacobian J is.
        u: Of f's shape and dtype; None where f is one number.
    """
    parameters = task.parameters()
    gradients = torch.autograd.grad(f, tuple(parameters.values()), u, allow_unused=True)
    for (name, p), g in zip(parameters.items(), gradients, strict=True):
        if name not in total:
            total[name] = torch.zeros_like(p, dtype=torch.float64, requires_grad=False)
        if g is not None:
            total[name] += g


def has_padding(task: Task) -> bool:
    """A selected table has a ``padding_idx``: by torch's convention its gradient is zero there, its tangent is not."""
    selected = {id(p) for p in task.parameters().values()}
    tables = (m for m in task.model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)))
    return any(table.padding_idx is not None and id(table.weight) in selected for table in tables)


@contextmanager
def _no_fast_path() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _in_place_of(model: nn.Module, values: Mapping[int, Tensor]) -> Iterator[None]:
    """Tensors where parameters are, under every name that a parameter has, until the context ends."""
    places = [
        (module._parameters, key, p)
        for module in model.modules()
        for key, p in module._parameters.items()
        if p is not None and id(p) in values
    ]
    try:
        for own, key, p in places:
            own[key] = values[id(p)]  # type: ignore[assignment]  # a plain tensor, as torch.func has it too
        yield
    finally:
        for own, key, p in places:
            own[key] = p
