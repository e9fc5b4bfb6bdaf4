"""Squared gradient norm of each sample."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.ops.dispatch import allows_tf32, call, refuse_unserved, register_autograd
from infotorch.ops.grads import grads
from infotorch.ops.pair import Gradients, as_gradient, check_name, new_empty, no_autocast, pull, sizes

__all__ = ["norms"]

Method = Literal["auto", "gram", "materialize"]


def norms(
    a: Tensor,
    b: Tensor,
    *,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: Method = "auto",
) -> Tensor:
    r"""Squared Frobenius norm of each sample's gradient, :math:`\|\sum_t b_{nt} a_{nt}^\top\|_F^2`.

    Note the square: take ``.sqrt()`` for the norm. Norms of several layers add before the root.

    ``"gram"`` sums :math:`\langle a_t, a_s\rangle\langle b_t, b_s\rangle` over pairs of positions, at
    T(T+1)/2 · (I+O) multiply-adds a sample, and ``"materialize"`` forms the gradient tile by tile, at
    (T+1) · I · O. ``"auto"`` takes the cheaper, judging by shape. With T = 1 the gram form is the
    outer-product rule of Goodfellow, "Efficient Per-Example Gradient Computations" (arXiv:1510.01799), section 4.
    Indices have one route: columns that were looked up are summed, then squared.

    The same call with the same number of threads gives the same bits on one machine. Totals are kept in float64. Where
    positions nearly cancel, ``"materialize"`` is the more exact: the error of ``"gram"`` is relative to
    :math:`(\sum_t \|a_t\| \|b_t\|)^2`, not to the result.

    bfloat16 and float16 are widened where they are read: products and sums run in float32. On a GPU they are multiplied
    by tensor cores, float32 too where ``torch.backends.cuda.matmul.allow_tf32`` is set.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        bias: Append the in-feature that is always 1, without copying ``a``.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.
        method: How to compute it. The values differ by rounding only.

    Returns:
        [N], of b's dtype, or float32 where that has 16 bits, never negative, in squared units of the loss over units
        of the weight.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, or ``method`` is not one of the three.
        NotSupported: A tensor on a device without kernels, or one that ``torch.func`` or forward mode tracks.

    Example:
        >>> norms(torch.ones(1, 1, 3), torch.ones(1, 1, 2))
        tensor([6.])
    """
    return call(torch.ops.infotorch.norms.default, a, b, bias, t_dims, in_features, method, allows_tf32(b))


@torch.library.register_fake("infotorch::norms")
def _fake(
    a: Tensor,
    b: Tensor,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: str = "auto",
    tf32: bool = False,
) -> Tensor:
    N, _, _, _ = sizes("norms", a, b, bias, t_dims, in_features)
    check_name("norms", "method", get_args(Method), method)
    return new_empty(b, N)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, ctx.bias, ctx.t_dims, ctx.in_features, *_ = inputs
    ctx.save_for_backward(a, b)


def _backward(ctx: Any, grad: Tensor) -> Gradients:  # grad [N]
    a, b = ctx.saved_tensors
    needs = ctx.needs_input_grad[:2]
    _, T, O = b.shape
    I = a.shape[1 + ctx.t_dims :].numel() if ctx.in_features is None else ctx.in_features
    if T * T <= O * I:
        pair = _pull_by_positions(2 * grad, a, b, needs, ctx.bias, ctx.in_features)
    else:
        g = grads(a, b, bias=ctx.bias, t_dims=ctx.t_dims, in_features=ctx.in_features)  # [N, O, I]
        pair = pull(g, a, b, needs, ctx.bias, ctx.in_features, 2 * grad)
    return *pair, None, None, None, None, None


def _pull_by_positions(
    scale: Tensor, a: Tensor, b: Tensor, needs: tuple[bool, bool], bias: bool, in_features: int | None
) -> Gradients:
    """Gradients of sum(scale / 2 * norms), (b b^T) a and (a a^T) b: with few positions [N, T, T] is the smaller one."""
    N, T, _ = b.shape
    wide = b.to(scale.dtype)
    grad_a = grad_b = None
    with no_autocast(scale):
        rows = a if in_features is not None else a.reshape(N, T, -1).to(scale.dtype)
        if needs[0]:
            grad_a = wide @ wide.mT @ rows
        if needs[1]:
            products = rows @ rows.mT if in_features is None else (a[:, :, None] == a[:, None, :]).to(scale.dtype)
            grad_b = (products + 1 if bias else products) @ wide
    return as_gradient(grad_a, a, scale), as_gradient(grad_b, b, scale)


register_autograd("norms", _setup_context, _backward)
refuse_unserved("norms")
