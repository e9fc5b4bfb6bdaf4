"""Directional derivatives of each sample's loss."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.ops.dispatch import call, refuse_unserved, register_autograd
from infotorch.ops.pair import Gradients, check_name, new_empty, no_autocast, pull, sizes
from infotorch.ops.vjp import vjp

__all__ = ["jvp"]

Method = Literal["auto", "apply", "materialize"]


def jvp(
    a: Tensor,
    b: Tensor,
    v: Tensor,
    *,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: Method = "auto",
) -> Tensor:
    r"""Inner products of the samples' gradients with directions, :math:`\langle G_n, v_k \rangle`.

    How fast each sample's loss changes as the weight moves along v: the Jacobian of the losses times v.

    ``"apply"`` sums :math:`b_{nt}^\top v_k a_{nt}` over positions, by one product of v with the rows of the cheaper
    side, at K T I O multiply-adds a sample; the other side's rows are multiplied in while the product is in cache.
    ``"materialize"`` forms the gradient tile by tile for all directions, at (T + K) I O. ``"auto"``
    takes the cheaper, judging by shape. Indices have one route: the columns of v that were looked up are gathered.

    Totals over tiles are kept in float64, in an order fixed by the shape. bfloat16 and float16 are widened where they
    are read: products run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        v: Directions, [O, I] or [K, O, I], of b's dtype or the result's. With ``bias``, I + 1 in place of I.
        bias: Append the in-feature that is always 1, last, without copying ``a``.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.
        method: How to compute it. The values differ by rounding only.

    Returns:
        [N] for v [O, I], [N, K] for v [K, O, I], of b's dtype, or float32 where that has 16 bits, in units of the loss
        over units of the weight times those of v.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, or ``method`` is not one of the three.
        NotSupported: A tensor on a device without kernels, or one that ``torch.func`` or forward mode tracks.

    Example:
        >>> jvp(torch.ones(2, 1, 3), torch.ones(2, 1, 1), torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([6., 6.])
    """
    return call(torch.ops.infotorch.jvp.default, a, b, v, bias, t_dims, in_features, method)


@torch.library.register_fake("infotorch::jvp")
def _fake(
    a: Tensor,
    b: Tensor,
    v: Tensor,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: str = "auto",
) -> Tensor:
    N, _, _, _ = sizes("jvp", a, b, bias, t_dims, in_features, v)
    check_name("jvp", "method", get_args(Method), method)
    return new_empty(b, N, *v.shape[:-2])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, v, ctx.bias, ctx.t_dims, ctx.in_features, _ = inputs
    ctx.save_for_backward(a, b, v)


def _backward(ctx: Any, grad: Tensor) -> Gradients:  # grad [N] or [N, K]
    a, b, v = ctx.saved_tensors
    needs = ctx.needs_input_grad
    options = {"bias": ctx.bias, "t_dims": ctx.t_dims, "in_features": ctx.in_features}
    pair: Gradients = (None, None)
    if any(needs[:2]):
        directions = v.to(grad.dtype)
        if v.dim() == 2:  # no [N, O, I] is formed
            pair = pull(directions, a, b, needs[:2], ctx.bias, ctx.in_features, grad)
        else:
            with no_autocast(grad):
                g = torch.tensordot(grad, directions, 1)  # [N, O, I]
            pair = pull(g, a, b, needs[:2], ctx.bias, ctx.in_features)
    grad_v = vjp(a, b, grad.mT if v.dim() == 3 else grad, **options).to(v.dtype) if needs[2] else None
    return *pair, grad_v, None, None, None, None


register_autograd("jvp", _setup_context, _backward)
refuse_unserved("jvp")
