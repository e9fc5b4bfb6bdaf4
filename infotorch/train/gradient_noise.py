"""Cross-entropy with noise on its gradient: training that hides labels by noise alone."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from infotorch import ops
from infotorch.errors import ConfigError, ShapeError, check_choice
from infotorch.ops import LimitNoise
from infotorch.task.targets import check_classes
from infotorch.train.limit_gradient import fresh_noise

__all__ = ["noisy_gradient_loss"]


def noisy_gradient_loss(
    logits: Tensor,
    target: Tensor,
    kind: Literal["gaussian", "laplace"] = "gaussian",
    *,
    std: float,
    noise: LimitNoise | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    r"""Cross-entropy whose gradient in a sample's logits is :math:`s - t + \xi`, with noise of ``std`` a coordinate.

    The baselines CE+GN and CE+LN of Harutyunyan et al., arXiv 2002.07933, section 4. ``std`` is that of one sample's
    gradient; the authors' code adds noise to the gradient of the mean, so its standard deviation times N is this one.
    With :math:`\lambda = 1 / (2\,\text{std}^2)` (Gaussian) or :math:`\sqrt 2 / \text{std}` (Laplace) it is the channel
    whose label information ``LabelInfoMeter(predictor="zero")`` bounds.

    Args:
        logits: [N, C].
        target: Labels, int64 [N], or probabilities, [N, C].
        kind: The noise's law.
        std: Standard deviation of the noise in each coordinate of a sample's gradient, at least 0.
        noise: Seed, step and the samples' ids, to which the draws are keyed. ``None``: the samples are numbered from 0,
            and torch's generator gives a seed at every call.
        reduction: Over the samples; noise is reduced with the gradient.

    Returns:
        The cross-entropy, a scalar, in nats. The noise is in its gradient alone.

    Raises:
        DataError: Shapes disagree, or a label lies outside 0..C-1.
        ShapeError: ``logits`` is not [N, C], or there isn't one id a sample.
        ConfigError: An option is unknown or out of range.
        NotSupported: ``noise`` is left out in one of several processes.
    """
    where = "noisy_gradient_loss"
    check_choice(where, "kind", kind, ("gaussian", "laplace"))
    check_choice(where, "reduction", reduction, ("mean", "sum"))
    if not 0 <= std < math.inf:
        raise ConfigError(
            f"{where}: std must be finite and at least 0; got {std}. It is that of one sample's gradient."
        )
    if logits.dim() != 2:
        raise ShapeError(
            f"{where}: logits must be [N, C]; got {list(logits.shape)}. Flatten positions into rows first."
        )
    check_classes(logits, target)
    noise = fresh_noise(where, logits) if noise is None else noise
    if len(noise.ids) != len(logits):
        raise ShapeError(f"{where}: noise.ids must be [{len(logits)}]; got {list(noise.ids.shape)}. One id a sample.")
    unit = 1.0 if kind == "gaussian" else math.sqrt(0.5)  # a Laplace draw of scale 1 has variance 2
    draws = ops.limit_noise(noise, logits.shape[1], kind=kind).to(logits) * (std * unit)
    draws = draws.masked_fill(logits.detach() == -math.inf, 0.0)  # a masked class has no gradient
    rows = _WithNoise.apply(F.cross_entropy(logits, target, reduction="none"), logits, draws)
    return rows.mean() if reduction == "mean" else rows.sum()


class _WithNoise(torch.autograd.Function):
    """The rows as they are; on the way back each adds its noise to the gradient of its logits."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, logits: Tensor, draws: Tensor) -> Tensor:
        ctx.save_for_backward(draws)
        return rows.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (draws,) = ctx.saved_tensors
        return grad, grad[:, None].to(draws.dtype) * draws, None
