"""Vectors over all selected parameters: flat in their order, or one tensor a parameter."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infotorch.errors import ConfigError, ShapeError

__all__ = ["Vectors", "check_floating", "flattened", "layer_of", "split", "vectors_of"]

Vectors = Tensor | Mapping[str, Tensor]


def split(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """{name: [..., *shape]} of flat [..., P], views where strides allow."""
    sizes = [shape.numel() for shape in shapes.values()]
    return {
        name: part.reshape((*flat.shape[:-1], *shape))
        for (name, shape), part in zip(shapes.items(), flat.split(sizes, -1), strict=True)
    }


def flattened(parts: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Tensor:
    """[..., P] of {name: [..., *shape]}."""
    leading = [parts[name].dim() - len(shape) for name, shape in shapes.items()]
    return torch.cat(
        [
            parts[name].flatten(d) if parts[name].dim() > d else parts[name][..., None]
            for d, name in zip(leading, shapes, strict=True)
        ],
        -1,
    )


def layer_of(name: str) -> str:
    """The module path that a parameter's name starts with."""
    return name.rpartition(".")[0]


def check_floating(where: str, what: str, v: Tensor) -> None:
    """Refuse what a result in its dtype would be cut off in."""
    if not v.is_floating_point():
        raise ConfigError(
            f"{where}: {what} must be of floats, as the result is of its dtype; got {v.dtype}. Pass {what}.double()."
        )


def vectors_of(where: str, what: str, V: Any, shapes: Mapping[str, torch.Size]) -> tuple[dict[str, Tensor], bool]:
    """({name: [J, *shape]}, whether it is a single vector) of [P], [J, P], or a dict of [*shape] or [J, *shape].

    Raises:
        ShapeError: A parameter lacks an entry, is not selected, or sizes disagree.
    """
    if isinstance(V, Tensor):
        P = sum(shape.numel() for shape in shapes.values())
        if V.dim() not in (1, 2) or V.shape[-1] != P:
            raise ShapeError(
                f"{where}: {what} must be [P] or [J, P] with P = {P}; got {list(V.shape)}. "
                "Lay the parameters end to end in named_parameters order, or pass a dict of their names."
            )
        return split(V if V.dim() == 2 else V[None], shapes), V.dim() == 1
    if not isinstance(V, Mapping) or set(V) != set(shapes):
        got = sorted(set(V) ^ set(shapes))[0] if isinstance(V, Mapping) else type(V).__name__
        raise ShapeError(
            f"{where}: {what} must be a tensor or a dict with every selected parameter; got a difference at {got!r}. "
            "Give the names that the task selects."
        )
    single = all(V[name].dim() == len(shape) for name, shape in shapes.items())
    J = next((V[name].shape[:1] for name, shape in shapes.items() if V[name].dim() > len(shape)), torch.Size())
    for name, shape in shapes.items():
        if V[name].shape != J + shape:
            raise ShapeError(
                f"{where}: {what}[{name!r}] must be {list(J + shape)}; got {list(V[name].shape)}. Shape every entry as "
                "its parameter, all with or all without a first axis J."
            )
    return {name: V[name][None] if single else V[name] for name in shapes}, single
