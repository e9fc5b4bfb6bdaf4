"""A square root of the softmax's curvature with one column fewer than classes."""

import torch
from torch import Tensor

from infotorch.errors import ShapeError

__all__ = ["softmax_factor"]


def softmax_factor(p: Tensor) -> Tensor:
    r"""The lower-triangular L of C-1 columns with :math:`L L^\top = \operatorname{diag} p - p p^\top`.

    With tails :math:`q_j = \sum_{i>j} p_i`, :math:`L_{jj} = \sqrt{p_j q_j / q_{j-1}}` and
    :math:`L_{ij} = -L_{jj}\, p_i / q_j` for i > j: the Cholesky factor of a multinomial's covariance (K. Tanabe and
    M. Sagae, An exact Cholesky decomposition and the generalized inverse of the variance-covariance matrix of the
    multinomial distribution, JRSS B 54, 1992). Tails are summed from the end, so that a nearly one-hot p loses no
    digits; where a tail is zero, so is its column.

    Args:
        p: Probabilities [..., C] that sum to 1, floating point.

    Returns:
        [..., C, C-1], of p's dtype. Its columns as output cotangents give the exact Fisher information of a softmax.

    Raises:
        ShapeError: p has no classes.

    Example:
        >>> softmax_factor(torch.tensor([0.5, 0.5]))
        tensor([[ 0.5000],
                [-0.5000]])
    """
    if not isinstance(p, Tensor):
        raise ShapeError(f"softmax_factor: p must be a tensor; got {type(p).__name__}. Pass probabilities [N, C].")
    if p.dim() == 0 or p.shape[-1] == 0:
        raise ShapeError(f"softmax_factor: p must be [..., C]; got {list(p.shape)}. Pass one probability a class.")
    sums = p.flip(-1).cumsum(-1).flip(-1)  # q_{j-1}
    q, before = sums[..., 1:], sums[..., :-1]  # [..., C-1]
    some = q > 0
    root = torch.where(some, p[..., :-1] * (q / before.where(some, 1)), 0).sqrt()  # L_jj
    below = -root[..., None, :] * (p[..., :, None] / q.where(some, 1)[..., None, :])  # [..., C, C-1]
    return below.tril(-1) + torch.nn.functional.pad(root.diag_embed(), (0, 0, 0, 1))
