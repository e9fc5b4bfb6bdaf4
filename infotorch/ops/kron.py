"""Factors of a Kronecker approximation of the Fisher information."""

from typing import Literal, get_args

import torch
from torch import Tensor

from infotorch.ops.dispatch import call, refuse_grad, refuse_unserved
from infotorch.ops.pair import check_name, new_empty, sizes

__all__ = ["kron"]

Split = Literal["expand", "reduce"]


def kron(
    a: Tensor,
    b: Tensor,
    *,
    split: Split = "expand",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Second moments A of a layer's inputs and B of its output-gradients: sums, not means.

    ``"expand"`` counts every position as a sample of its own, :math:`A = \sum_{nt} a_{nt} a_{nt}^\top`, and
    ``"reduce"`` sums the positions of a sample first, :math:`A = \sum_n (\sum_t a_{nt}) (\sum_t a_{nt})^\top`; B
    likewise. The two are those of Eschenhagen et al., "Kronecker-Factored Approximate Curvature for Modern Neural
    Network Architectures" (arXiv:2311.00636), section 3, up to factors of N and T, which are the caller's: with N
    samples, :math:`B \otimes A / N` approximates :math:`\sum_n \mathrm{vec}\,G_n (\mathrm{vec}\,G_n)^\top` with T = 1,
    and equals it for N = 1. With T = 1 both are the factors of Martens and Grosse (arXiv:1503.05671), section 3.

    One triangle of each is computed, at N T (I² + O²) / 2 multiply-adds, or with ``"reduce"`` N (I² + O²) / 2 and
    N T (I + O) additions, and mirrored: both are symmetric to the bit.

    bfloat16 and float16 are widened where they are read: products and sums run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up; A is
            dense all the same.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        split: How positions are treated.
        bias: Append the in-feature that is always 1, last, without copying ``a``: I + 1 in place of I. ``"reduce"``
            sums it too, to T.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.

    Returns:
        A [I, I], in squared units of a, and B [O, O], in squared units of b; of b's dtype, or float32 where that
        has 16 bits.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, or ``split`` is neither of the two.
        NotSupported: A tensor on a device without kernels, or one that requires grad: there is no way back.

    Example:
        >>> kron(torch.ones(4, 1, 2), 2 * torch.ones(4, 1, 1))
        (tensor([[4., 4.],
                [4., 4.]]), tensor([[16.]]))
    """
    return call(torch.ops.infotorch.kron.default, a, b, bias, t_dims, in_features, split)


@torch.library.register_fake("infotorch::kron")
def _fake(
    a: Tensor, b: Tensor, bias: bool = False, t_dims: int = 1, in_features: int | None = None, split: str = "expand"
) -> tuple[Tensor, Tensor]:
    _, _, I, O = sizes("kron", a, b, bias, t_dims, in_features)
    check_name("kron", "split", get_args(Split), split)
    return new_empty(b, I, I), new_empty(b, O, O)


refuse_grad("kron")
refuse_unserved("kron")
