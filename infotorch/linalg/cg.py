"""Conjugate gradients on a matrix that is only multiplied with."""

from collections.abc import Callable

import torch
from torch import Tensor

from infotorch.errors import NumericsError

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    where: str,
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    diagonal: Tensor,
    tol: float = 1e-10,
    max_iter: int | None = None,
) -> Tensor:
    """Solution of A x = b for a symmetric positive definite A, preconditioned by its diagonal.

    Hestenes and Stiefel (1952). It ends where the recursion's residual is below ``tol`` of b in the norm; the residual
    that x has is then computed, for in the product's own rounding the two drift apart.

    Args:
        where: Who asks, for refusals.
        product: A v for float64 v [P].
        b: Float64 [P].
        diagonal: Of A, [P], above 0.
        tol: Relative size of the residual.
        max_iter: Products at most; 10 P, and at least 100, if not given.

    Raises:
        NumericsError: A is not positive definite along a direction, or ``max_iter`` products don't suffice.
    """
    x, r = torch.zeros_like(b), b.clone()
    size = float(b.norm())
    if size == 0:
        return x
    z = r / diagonal
    p, rz = z, r @ z
    limit = max(100, 10 * len(b)) if max_iter is None else max_iter
    for _ in range(limit):
        Ap = product(p)
        curvature = float(p @ Ap)
        if not curvature > 0:
            raise NumericsError(
                f"{where}: the matrix must be positive definite; got a curvature of {curvature:.3g} along a direction "
                "of conjugate gradients. Raise damping."
            )
        step = rz / curvature
        x, r = x + step * p, r - step * Ap
        if float(r.norm()) <= tol * size:
            break
        z = r / diagonal
        rz, before = r @ z, rz
        p = z + rz / before * p
    left = float((b - product(x)).norm()) / size
    if not left <= 100 * tol:
        raise NumericsError(
            f"{where}: conjugate gradients must end with a residual of at most {100 * tol:.0e} of the gradient; got "
            f"{left:.3g} after at most {limit:,} products. Raise damping."
        )
    return x
