"""Empirical Fisher information."""

from typing import Literal, get_args

import torch
from torch import Tensor

from infotorch.ops.dispatch import call, call_out, refuse_grad, refuse_unserved, register_fake_out
from infotorch.ops.pair import check_name, new_empty, sizes

__all__ = ["fisher"]

Form = Literal["diagonal", "full"]


def fisher(
    a: Tensor,
    b: Tensor,
    *,
    form: Form = "diagonal",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""Empirical Fisher information of a weight, :math:`\sum_n \mathrm{vec}\,G_n (\mathrm{vec}\,G_n)^\top`.

    A sum, not a mean. It is the Fisher information of the model where b holds gradients for labels drawn from the model
    itself. Where it holds those for the data's labels it is another matrix, the sum of the gradients' outer products:
    Kunstner, Balles and Hennig, "Limitations of the empirical Fisher approximation for natural gradient descent"
    (arXiv:1905.12558), section 2.

    ``"diagonal"`` sums squares, at N T I O multiply-adds; the gradients are formed tile by tile, and
    with T = 1 never formed: :math:`(b^2)^\top a^2`. ``"full"`` computes one triangle, at N (I O)² / 2, and is
    symmetric to the bit. With indices both are sums over pairs of columns that one sample looked up.

    bfloat16 and float16 are widened where they are read: products and sums run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        form: What of the matrix.
        bias: Append the in-feature that is always 1, last, without copying ``a``: I + 1 in place of I.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.
        out: Where to write, contiguous, of the result's shape, apart from the inputs; default: a new tensor.

    Returns:
        [O, I], or [O I, O I] with rows and columns in the order o, then i; of b's dtype, or float32 where that has
        16 bits, in squared units of the loss over units of the weight.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, or ``form`` is neither of the two.
        NotSupported: A tensor on a device without kernels, or one that requires grad: there is no way back.

    Example:
        >>> fisher(torch.ones(2, 1, 3), torch.ones(2, 1, 1))
        tensor([[2., 2., 2.]])
    """
    if out is None:
        return call(torch.ops.infotorch.fisher.default, a, b, bias, t_dims, in_features, form)
    return call_out(torch.ops.infotorch.fisher.out, a, b, bias, t_dims, in_features, form, out=out)


@torch.library.register_fake("infotorch::fisher")
def _fake(
    a: Tensor,
    b: Tensor,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
    form: str = "diagonal",
) -> Tensor:
    _, _, I, O = sizes("fisher", a, b, bias, t_dims, in_features)
    check_name("fisher", "form", get_args(Form), form)
    return new_empty(b, O * I, O * I) if form == "full" else new_empty(b, O, I)


refuse_grad("fisher")
register_fake_out("fisher", _fake)
refuse_unserved("fisher")
