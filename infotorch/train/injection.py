"""Where the gradient of somebody else's loss turns into the predicted one."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from infotorch.errors import ConfigError
from infotorch.ops.pair import result_dtype
from infotorch.task.classes import is_single, is_soft, labelled
from infotorch.train.limit_gradient import scaled

__all__ = ["check_cross_entropy", "inject", "label_gradient"]

TOLERANCE = 1e-2


def inject(logits: Tensor, predicted: Tensor, factor: Callable[[Tensor], Tensor]) -> Tensor:
    """The logits, whose gradient will be ``predicted`` times ``factor(G)``, with G what the loss sends back.

    Args:
        logits: Any shape.
        predicted: Of their shape and dtype.
        factor: Gives a scalar; may raise.
    """
    return _Inject.apply(logits, predicted, factor)


class _Inject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, predicted: Tensor, factor: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(predicted)
        ctx.factor = factor
        return logits.view_as(logits)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return scaled(ctx.saved_tensors[0], ctx.factor(upstream), in_place=False), None, None


@torch.no_grad()
def label_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient s - t of cross-entropy in logits [..., C] or of one logit's, float32 or wider; 0 without a label."""
    z = logits.to(result_dtype(logits))
    there = labelled(logits, labels)
    if is_single(logits, labels):
        return torch.where(there.view_as(z), z.sigmoid() - labels.view_as(z), 0.0)
    s = z.softmax(-1)
    if is_soft(logits, labels):
        s = s - labels
    else:
        one = torch.full_like(labels, -1, dtype=s.dtype)
        s.scatter_add_(-1, torch.where(there, labels, 0)[..., None], one[..., None])
    return torch.where(there[..., None], s, 0.0)


@torch.no_grad()
def check_cross_entropy(where: str, upstream: Tensor, gradient: Tensor, factor: Tensor) -> None:
    r"""Raises where a loss is no mean cross-entropy, as its gradient G in the logits tells.

    With :math:`k = \langle G, s - t \rangle / \|s - t\|^2`, :math:`\|G - k (s - t)\|` may be 1 % of :math:`\|G\|`, and
    k may be 1 % off ``factor``. A gradient that isn't finite says nothing, and passes.

    Args:
        where: Who asks.
        upstream: G, of the logits' dtype.
        gradient: s - t, of G's shape.
        factor: What k must be: a scalar.

    Raises:
        ConfigError: It is another loss, or a multiple of the mean.
    """
    G, factor = upstream.to(gradient.dtype), factor.to(gradient.dtype)
    # Rounding of s - t where the classifier is sure of every label: nothing smaller can be told from it.
    floor = factor * (8 * torch.finfo(gradient.dtype).eps * math.sqrt(G.numel()))
    norm = gradient.norm()
    k = torch.where(norm * factor > 100 * floor, (G * gradient).sum() / norm.square(), factor)
    numbers = torch.stack([k / factor, (G - k * gradient).norm(), G.norm(), floor]).tolist()
    ratio, rest, size, floor_ = numbers
    if not math.isfinite(size):
        return
    must = f"{where}: the loss on the hooked logits must be plain cross-entropy, its mean over the labels"
    todo = (
        "Leave mixup, label smoothing, weights and further terms out of the loss, or set grad_scale: each label's own "
        "factor in it."
    )
    if rest > (TOLERANCE + 3 * _rounding(upstream)) * size + floor_:
        raise ConfigError(f"{must}; got a gradient {rest / size:.0%} of which is no multiple of s - t. {todo}")
    if abs(ratio - 1) > TOLERANCE:
        raise ConfigError(f"{must}; got a gradient {ratio:.4g} times as large. {todo}")


def _rounding(x: Tensor) -> float:
    """What a half dtype's rounding, of a loss computed in it, adds to the tolerance."""
    return torch.finfo(x.dtype).eps if x.dtype in (torch.float16, torch.bfloat16) else 0.0
