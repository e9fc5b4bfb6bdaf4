"""Both ends of the quadratic form of a shifted inverse, by Gauss and Gauss-Radau quadrature."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.linalg.lanczos import coefficients

__all__ = ["Bracket", "inverse_form"]

MAX_STEPS = 1000
"""Products after which a bracket that is still too wide is refused."""
ROUNDINGS = 64
"""How far below 0, in roundings of the largest eigenvalue, those of a semi-definite operator may be; and how far off a
shifted inverse is, in those over the shift."""
EPS = 2.0**-52


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """What is known of a quadratic form."""

    lower: float
    upper: float
    iterations: int
    """Products with the operator."""
    largest: float
    """The largest Ritz value: the operator's largest eigenvalue from below, in practice to many digits."""
    first: float
    r"""The form of the operator itself over that of the identity, :math:`r^\top K r / \|r\|^2`."""


def inverse_form(
    where: str,
    matvec: Callable[[Tensor], Tensor],
    r: Tensor,
    ridge: float,
    *,
    tol: float,
    max_iter: int | None = None,
    least: float = 0.0,
    eps: float = EPS,
    scale: float = 0.0,
    rounding: float = EPS,
    most: Callable[[], float] | None = None,
) -> Bracket:
    r"""Bounds of :math:`r^\top (K + \rho I)^{-1} r` from products with a positive semi-definite K.

    The lower end is the Gauss rule :math:`\|r\|^2 e_1^\top (T_k + \rho I)^{-1} e_1`, which conjugate gradients from
    zero give too; the upper end is the Gauss-Radau rule with a node at the least that the spectrum can reach (Golub and
    Meurant, "Matrices, moments and quadrature", 1994): T_k is extended by one row, so that the node is an eigenvalue.
    The basis is made orthogonal in every step, and both ends are moved apart by 64 roundings of the largest eigenvalue
    and the shift over the shift rho + ``least``, the condition of the inverse. Where the Krylov space ends with a
    residual that is small but no zero, the bracket is as wide as that leaves it. What the Gauss rule lacks is the form
    of its residual, a multiple of the next basis vector q; where ``most`` bounds that of q, it bounds the upper end.

    Args:
        where: Who asks, for refusals.
        matvec: v [m] -> K v [m], float64.
        r: [m], not zero.
        ridge: rho; rho + ``least`` is above 0.
        tol: Ends where (upper - lower) <= tol * lower, with roundings.
        max_iter: Products, at most: what is reached with them is returned. Default: 1,000, and then an error.
        least: What no eigenvalue of K is below.
        eps: Rounding of the products, relative to the largest eigenvalue: so far below 0 may eigenvalues be.
            The ends are those of the operator as it is, with products in float64.
        scale: K's largest eigenvalue, or what is known of it: r alone may lie where K has none but small ones.
        rounding: What a rounding counts as in the ends.
        most: What the form is at most for the last vector that ``matvec`` was called with.

    Raises:
        NumericsError: K has a negative eigenvalue, ``tol`` is below the roundings, or the bracket is wider than it
            after 1,000 products or at the end of the Krylov space.
    """
    square = float(r.double() @ r.double())
    alphas: list[float] = []
    betas: list[float] = []
    found, above = 0.0, float("inf")
    weight, pivot, node_pivot, before, reach = 1.0, 0.0, 0.0, 0.0, scale
    limit = MAX_STEPS if max_iter is None else max_iter
    for alpha, beta, _ in coefficients(matvec, r):
        alphas.append(alpha)
        betas.append(beta)
        reach = max(reach, abs(alpha) + beta + before)  # Gershgorin: no Ritz value is larger
        node = least - ROUNDINGS * eps * reach
        # Pivots of T_k + ridge I and of T_k - node I; the last one is the inverse of the inverse's last entry.
        pivot = alpha + ridge - (before**2 / pivot if before else 0.0)
        node_pivot = alpha - node - (before**2 / node_pivot if before else 0.0)
        if not (node_pivot > 0 and pivot > 0):
            raise NumericsError(
                f"{where}: K must be positive semi-definite; got an eigenvalue below {node:.1e} beside {reach:.1e}. "
                "Look at what it is made of, or raise ridge."
            )
        if most is not None:
            above = min(above, square * (found + weight * most()))
        found += weight / pivot
        weight *= (beta / pivot) ** 2
        last = ridge + node + beta**2 * (1 / node_pivot - 1 / pivot)
        if last > 0:
            above = min(above, square * (found + weight / last))
        before = beta
        off = ROUNDINGS * rounding * (1 + reach / (ridge + least))
        lower = square * found * max(0.0, 1 - off)
        upper = max(square * found, above) * (1 + off)  # at the end they differ by rounding
        if max_iter is None and 2 * off > tol:
            raise NumericsError(
                f"{where}: tol must be at least {2 * off:.1e}, what rounding leaves open at ridge={ridge:.3g} "
                f"beside an eigenvalue of {reach:.3g}; got {tol:g}. Raise ridge or tol, or pass max_iter to have the "
                "bracket as it is."
            )
        if upper - lower <= tol * lower or len(alphas) == limit:
            break
    if max_iter is None and not upper - lower <= tol * lower:
        raise NumericsError(
            f"{where}: the bracket must be within tol={tol:g} after {len(alphas)} products; got {lower:.4g} to "
            f"{upper:.4g}. Raise ridge or tol, or pass max_iter to have the bracket as it is."
        )
    T = torch.tensor(alphas).double().diag() + sum(torch.tensor(betas[:-1]).double().diag(k) for k in (-1, 1))
    largest = float(torch.linalg.eigvalsh(T)[-1])
    return Bracket(lower=lower, upper=upper, iterations=len(alphas), largest=largest, first=alphas[0])
