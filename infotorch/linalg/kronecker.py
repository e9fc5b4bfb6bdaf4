"""Functions of a Kronecker product by the eigenvalues of its factors."""

import math

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError, ShapeError

__all__ = ["kron_logdet"]


def kron_logdet(a_eigs: Tensor, b_eigs: Tensor, scale: float) -> float:
    r"""Log-determinant of the identity plus a Kronecker product, :math:`\log |I + s\, B \otimes A|`, in float64.

    The eigenvalues of the product are all products of those of its factors: :math:`\sum_{ij} \log(1 + s\, a_i b_j)`.

    Args:
        a_eigs: Eigenvalues of one factor, [I].
        b_eigs: Eigenvalues of the other, [O].
        scale: s, at least 0.

    Returns:
        The log-determinant.

    Raises:
        ConfigError: The scale is negative or not finite.
        NumericsError: The sum of the identity and the product is not positive definite.
        ShapeError: Eigenvalues are no vectors.

    Example:
        >>> round(kron_logdet(torch.tensor([1.0, 3.0]), torch.tensor([1.0]), 1.0), 6)  # log 2 + log 4
        2.079442
    """
    if a_eigs.dim() != 1 or b_eigs.dim() != 1:
        raise ShapeError(
            f"kron_logdet: eigenvalues must be [I] and [O]; got {list(a_eigs.shape)} and {list(b_eigs.shape)}. "
            "Pass those of one pair of factors."
        )
    if not 0 <= scale < math.inf:
        raise ConfigError(f"kron_logdet: scale must be finite and at least 0; got {scale}. Correct scale.")
    products = scale * a_eigs.double()[:, None] * b_eigs.double()  # [I, O]
    if not bool((products > -1).all()):
        least = float(products.min())
        raise NumericsError(
            f"kron_logdet: 1 + scale * a * b must be above 0; got {1 + least:.3g}. Clamp at 0 the eigenvalues "
            "that rounding made negative."
        )
    return float(torch.log1p(products).sum())
