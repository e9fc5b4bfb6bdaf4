"""Directions in which inputs are changed by what should not matter: rotation, shift, brightness, or a caller's own."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.task import select

__all__ = ["GENERATORS", "named", "tangents_of"]

WHERE = "activations_information"

Tangent = Tensor | str | Callable[[Tensor], Tensor]


def rotation(x: Tensor) -> Tensor:
    """Change of images [N, C, H, W] a radian, turned about their centre with the columns' axis toward the rows'."""
    down, right = _slopes(x)
    H, W = x.shape[-2:]
    rows = torch.arange(H, dtype=x.dtype, device=x.device)[:, None] - (H - 1) / 2
    columns = torch.arange(W, dtype=x.dtype, device=x.device) - (W - 1) / 2
    return rows * right - columns * down


def shift(x: Tensor) -> Tensor:
    """Change of images [N, C, H, W] a pixel, moved to the right."""
    return -_slopes(x)[1]


def brightness(x: Tensor) -> Tensor:
    """Change of images [N, C, H, W] a unit of x, raised everywhere by the same."""
    return torch.ones_like(x)


GENERATORS = {"rotation": rotation, "shift": shift, "brightness": brightness}


def named(tangents: Any) -> dict[str, Tangent]:
    """By name; a list of words names each by itself.

    Raises:
        ConfigError: It is neither.
    """
    if tangents is None or isinstance(tangents, Mapping):
        return dict(tangents or {})
    if isinstance(tangents, (list, tuple)) and all(isinstance(one, str) for one in tangents):
        return {one: one for one in tangents}
    raise ConfigError(
        f"{WHERE}: tangents must be a dict of tangents by name, or a list of {', '.join(map(repr, GENERATORS))}; got "
        f'{type(tangents).__name__}. Pass {{"turn": "rotation"}}, or tensors of the shape of x.'
    )


def tangents_of(
    tangents: Mapping[str, Tangent] | None, x: Tensor, samples: slice, total: int | None
) -> dict[str, Tensor]:
    """{name: [N, ...]}, one tangent of the shape of x a sample.

    Args:
        tangents: Tensors of all data, functions of x, or names of generators.
        x: Inputs of one batch, [N, ...].
        samples: The batch's place in all data.
        total: How many samples all data have; None for a loader, which nobody knows it of.

    Raises:
        ConfigError: A generator is unknown, or an entry is of no such kind.
        ShapeError: A tangent has another shape than x, or a generator of images is asked of other inputs.
        DataError: A tangent is not finite.
    """
    found = {}
    for name, tangent in (tangents or {}).items():
        where = f"{WHERE}: tangents[{name!r}]"
        if isinstance(tangent, str):
            check_choice(WHERE, f"tangents[{name!r}]", tangent, GENERATORS)
            if x.dim() != 4 or min(x.shape[2:]) < 2:
                raise ShapeError(
                    f"{where} must be of images [N, C, H, W] to be a {tangent}; got inputs {list(x.shape)}. Give the "
                    "model images, or pass the tangent as a tensor or a function of x."
                )
            value: Any = GENERATORS[tangent](x)
        elif isinstance(tangent, Tensor):
            if not tangent.dim() or (total is not None and len(tangent) != total):
                raise ShapeError(
                    f"{where} must have the inputs' shape {[total or len(x), *x.shape[1:]]}; got "
                    f"{list(tangent.shape)}. Give one tangent a sample."
                )
            value = select(tangent, samples)
        elif callable(tangent):
            value = tangent(x)
        else:
            raise ConfigError(
                f"{where} must be a tensor, a function or one of {', '.join(map(repr, GENERATORS))}; got "
                f"{type(tangent).__name__}. Pass torch.as_tensor(...) of the shape of x."
            )
        if not isinstance(value, Tensor) or value.shape != x.shape:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"{where} must have the inputs' shape {list(x.shape)}; got {got}. Give one tangent a sample."
            )
        if not bool(value.isfinite().all()):
            n = int((~value.isfinite()).flatten(1).any(1).nonzero()[0])
            raise DataError(f"{where} must be finite; got NaN or infinity at sample {samples.start + n}. Look at it.")
        found[name] = value.detach()
    return found


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and along columns, with the border repeated outside of the image.

    They are what bilinear interpolation has for a derivative, the mean of its two one-sided ones.
    """
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    right = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    return down, right
