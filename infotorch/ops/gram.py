"""Inner products of per-sample gradients."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.ops.dispatch import allows_tf32, call, call_out, refuse_unserved, register_autograd, register_fake_out
from infotorch.ops.pair import Gradients, check, check_name, new_empty, pull, sizes
from infotorch.ops.vjp import vjp

__all__ = ["gram"]

Method = Literal["auto", "gram", "materialize"]


def gram(
    a: Tensor,
    b: Tensor,
    a2: Tensor | None = None,
    b2: Tensor | None = None,
    *,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: Method = "auto",
    out: Tensor | None = None,
) -> Tensor:
    r"""Inner products of the gradients of two sets of samples, :math:`\langle G_n, G'_m \rangle`.

    ``"gram"`` sums :math:`\langle a_{nt}, a'_{ms}\rangle\langle b_{nt}, b'_{ms}\rangle` over pairs of positions, at N M
    T S (I+O) multiply-adds, and ``"materialize"`` forms the gradients chunk by chunk, at (N T + M S + N M) I O; neither
    holds more than some MiB. ``"auto"`` takes the cheaper, judging by sizes. Without a second set the result is
    symmetric to the bit, and one triangle is computed. Gradients of several layers add: sum their Gram matrices.
    Indices have one route: columns that both samples looked up are summed and multiplied.

    bfloat16 and float16 are widened where they are read: products and sums run in float32. On a GPU they are multiplied
    by tensor cores, float32 too where ``torch.backends.cuda.matmul.allow_tf32`` is set, and ``"materialize"``, whose
    gradients have more than 16 bits, multiplies those as tf32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        a2: Inputs of the second set, of M samples and S positions; default: the first set again.
        b2: Output-gradients of the second set, [M, S, O].
        bias: Append the in-feature that is always 1, without copying ``a``.
        t_dims: Number of T axes in ``a`` and ``a2``.
        in_features: I, given exactly when ``a`` holds indices.
        method: How to compute it. The values differ by rounding only.
        out: Where to write, contiguous [N, M], apart from the inputs; default: a new tensor.

    Returns:
        [N, M], of b's dtype, or float32 where that has 16 bits, in squared units of the loss over units of the weight.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, or ``method`` is not one of the three.
        NotSupported: A tensor on a device without kernels, one that ``torch.func`` or forward mode tracks, or ``out=``
            where autograd is wanted.

    Example:
        >>> gram(torch.ones(2, 1, 3), torch.ones(2, 1, 2))
        tensor([[6., 6.],
                [6., 6.]])
    """
    if out is None:
        return call(torch.ops.infotorch.gram.default, a, b, a2, b2, bias, t_dims, in_features, method, allows_tf32(b))
    op = torch.ops.infotorch.gram.out
    return call_out(op, a, b, a2, b2, bias, t_dims, in_features, method, allows_tf32(b), out=out)


@torch.library.register_fake("infotorch::gram")
def _fake(
    a: Tensor,
    b: Tensor,
    a2: Tensor | None = None,
    b2: Tensor | None = None,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    method: str = "auto",
    tf32: bool = False,
) -> Tensor:
    N, _, I, O = sizes("gram", a, b, bias, t_dims, in_features, a2, b2)
    check_name("gram", "method", get_args(Method), method)
    if a2 is None or b2 is None:
        todo = "Pass both, or neither for the symmetric case."
        check("gram", a2 is b2, "a2 and b2 must come together", "a2 alone" if b2 is None else "b2 alone", todo)
        return new_empty(b, N, N)
    M, _, I2, O2 = sizes("gram", a2, b2, bias, t_dims, in_features)
    got = f"O = {O}, I = {I} and O = {O2}, I = {I2}"
    check("gram", I == I2 and O == O2, "both sets must agree on I and O", got, "Capture both from one layer.")
    return new_empty(b, N, M)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, a2, b2, ctx.bias, ctx.t_dims, ctx.in_features, *_ = inputs
    ctx.save_for_backward(a, b, a2, b2)


def _backward(ctx: Any, grad: Tensor) -> Gradients:  # grad [N, M]
    a, b, a2, b2 = ctx.saved_tensors
    options = {"bias": ctx.bias, "t_dims": ctx.t_dims, "in_features": ctx.in_features}
    needs = ctx.needs_input_grad
    first: Gradients = (None, None)
    second: Gradients = (None, None)
    if a2 is None:
        first = pull(vjp(a, b, grad + grad.mT, **options), a, b, needs[:2], ctx.bias, ctx.in_features)
    else:
        if any(needs[:2]):
            first = pull(vjp(a2, b2, grad, **options), a, b, needs[:2], ctx.bias, ctx.in_features)
        if any(needs[2:4]):
            second = pull(vjp(a, b, grad.mT, **options), a2, b2, needs[2:4], ctx.bias, ctx.in_features)
    return *first, *second, None, None, None, None, None


register_autograd("gram", _setup_context, _backward)
register_fake_out("gram", _fake)
refuse_unserved("gram")
