"""Per-sample gradients."""

from typing import Any

import torch
from torch import Tensor

from infotorch.ops.dispatch import call, call_out, refuse_unserved, register_autograd, register_fake_out
from infotorch.ops.pair import Gradients, new_empty, pull, sizes

__all__ = ["grads"]


def grads(
    a: Tensor,
    b: Tensor,
    *,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""Gradient of each sample's loss with respect to the weight, :math:`G_n = \sum_t b_{nt} a_{nt}^\top`.

    The result is large, and on most machines writing it into fresh memory takes longer than computing it: pass
    ``out=`` in a loop.

    bfloat16 and float16 are widened where they are read: products and sums run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie: the patches of a convolution are a view of its padded input, which is never
            unfolded. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        bias: Append the in-feature that is always 1, last, without copying ``a``: I + 1 in place of I.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.
        out: Where to write, contiguous [N, O, I], apart from the inputs; default: a new tensor.

    Returns:
        [N, O, I], of b's dtype, or float32 where that has 16 bits, in units of the loss over units of the weight.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, or an index is out of range.
        NotSupported: A tensor on a device without kernels, one that ``torch.func`` or forward mode tracks, or ``out=``
            where autograd is wanted.

    Example:
        >>> grads(torch.ones(1, 1, 3), torch.ones(1, 1, 2)).shape
        torch.Size([1, 2, 3])
    """
    if out is None:
        return call(torch.ops.infotorch.grads.default, a, b, bias, t_dims, in_features)
    return call_out(torch.ops.infotorch.grads.out, a, b, bias, t_dims, in_features, out=out)


@torch.library.register_fake("infotorch::grads")
def _fake(a: Tensor, b: Tensor, bias: bool = False, t_dims: int = 1, in_features: int | None = None) -> Tensor:
    N, _, I, O = sizes("grads", a, b, bias, t_dims, in_features)
    return new_empty(b, N, O, I)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, ctx.bias, _, ctx.in_features = inputs
    ctx.save_for_backward(a, b)


def _backward(ctx: Any, grad: Tensor) -> Gradients:  # grad [N, O, I]
    a, b = ctx.saved_tensors
    return *pull(grad, a, b, ctx.needs_input_grad[:2], ctx.bias, ctx.in_features), None, None, None


register_autograd("grads", _setup_context, _backward)
register_fake_out("grads", _fake)
refuse_unserved("grads")
