"""Weighted sums of per-sample gradients."""

from typing import Any

import torch
from torch import Tensor

from infotorch.ops.dispatch import call, refuse_unserved, register_autograd
from infotorch.ops.pair import Gradients, new_empty, no_autocast, pull, sizes

__all__ = ["vjp"]


def vjp(
    a: Tensor, b: Tensor, w: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None
) -> Tensor:
    r"""Weighted sums of the samples' gradients, :math:`\sum_n w_{kn} G_n`.

    At few positions a weighting is one product over all N T rows, with those of b scaled. Wherever it is cheaper,
    gradients are formed tile by tile, and all weightings share them: (T + K) against K T multiply-adds a sample and
    weight.

    A weight of 0 multiplies, it does not select: 0 times NaN is NaN. Take samples that are not finite out of ``a`` and
    ``b``.

    bfloat16 and float16 are widened where they are read: products and sums run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        w: Weights, [N] or [K, N], of b's dtype or the result's.
        bias: Append the in-feature that is always 1, last, without copying ``a``: I + 1 in place of I.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.

    Returns:
        [O, I] for w [N], [K, O, I] for w [K, N], of b's dtype, or float32 where that has 16 bits.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, or an index is out of range.
        NotSupported: A tensor on a device without kernels, or one that ``torch.func`` or forward mode tracks.

    Example:
        >>> vjp(torch.ones(4, 1, 3), torch.ones(4, 1, 1), torch.arange(4.0))
        tensor([[6., 6., 6.]])
    """
    return call(torch.ops.infotorch.vjp.default, a, b, w, bias, t_dims, in_features)


@torch.library.register_fake("infotorch::vjp")
def _fake(
    a: Tensor, b: Tensor, w: Tensor, bias: bool = False, t_dims: int = 1, in_features: int | None = None
) -> Tensor:
    _, _, I, O = sizes("vjp", a, b, bias, t_dims, in_features, w)
    return new_empty(b, *w.shape[:-1], O, I)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, w, ctx.bias, ctx.t_dims, ctx.in_features = inputs
    ctx.save_for_backward(a, b, w)


def _backward(ctx: Any, grad: Tensor) -> Gradients:  # grad [O, I] or [K, O, I]
    a, b, w = ctx.saved_tensors
    needs = ctx.needs_input_grad
    pair: Gradients = (None, None)
    if any(needs[:2]):
        weights = w.to(grad.dtype)
        if w.dim() == 1:  # no [N, O, I] is formed
            pair = pull(grad, a, b, needs[:2], ctx.bias, ctx.in_features, weights)
        else:
            with no_autocast(grad):
                g = torch.tensordot(weights, grad, ([0], [0]))  # [N, O, I]
            pair = pull(g, a, b, needs[:2], ctx.bias, ctx.in_features)
    grad_w = None
    if needs[2]:  # [N] or [N, K]; not by ops.jvp, which needs this op on its own way back
        grad_w = torch.ops.infotorch.jvp(a, b, grad, ctx.bias, ctx.t_dims, ctx.in_features)
        grad_w = (grad_w.mT if w.dim() == 2 else grad_w).to(w.dtype)
    return *pair, grad_w, None, None, None


register_autograd("vjp", _setup_context, _backward)
refuse_unserved("vjp")
