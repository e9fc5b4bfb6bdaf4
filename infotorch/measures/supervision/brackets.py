"""The quadratic forms of all targets from products with a kernel."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from infotorch.linalg.brackets import EPS, Bracket, inverse_form
from infotorch.linalg.definite import Cholesky
from infotorch.linalg.eigen import extreme_eigenvalues
from infotorch.linalg.lanczos import lanczos, quadrature
from infotorch.measures.supervision.inputs import WHERE, Ridges, check_noise
from infotorch.measures.supervision.solve import Solved

__all__ = ["Product", "by_products"]

LARGEST_STEPS = 8
"""Products that find the largest eigenvalue of a kernel."""
LEAST_RIDGE = 1e-6
"""Relative to the largest eigenvalue: below it the rounding of a preconditioned product reaches its spectrum's end."""
TRIANGULAR = 32 * EPS
"""Rounding of a preconditioned form: of 1,200 random kernels the worst was off by 732 roundings of
the largest eigenvalue over the ridge; without a preconditioner by 4."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A kernel known by its products with vectors."""

    matvec: Callable[[Tensor], Tensor]
    """v [N*C] -> K v [N*C], float64."""
    trace: float
    frobenius: float | None
    """Its norm, where it is known."""
    eps: float
    """Rounding of a product, relative to the largest eigenvalue."""
    largest: float | None = None
    """Its largest eigenvalue, or for a kernel of float64 a bound of it from above; None where it must be found."""
    mean: Tensor | None = None
    """The mean over outputs, [N, N], where it is known: what products are preconditioned with."""


def by_products(
    product: Product, residuals: Mapping[str, Tensor], ridges: Ridges, *, tol: float, max_iter: int | None = None
) -> dict[str, Solved]:
    """Fields by target from brackets, one Lanczos run a target."""
    result = {}
    first = next(iter(residuals.values())).reshape(-1)
    (rho,) = ridges.absolute(product.trace / len(first))

    @cache
    def largest() -> float:  # a preconditioned kernel of float64 needs none
        return _largest(product, first) if product.largest is None else product.largest

    if product.eps > EPS:
        check_noise(rho, ridges, product.trace / len(first), product.eps, largest())
    for name, r in residuals.items():
        v = r.reshape(-1)
        square = float(v @ v)
        if not square:
            result[name] = _of_zero(product, rho)
            continue
        found = _preconditioned(product, v, rho, tol, max_iter)
        if found is None:
            found = inverse_form(
                WHERE, product.matvec, v, rho, tol=tol, max_iter=max_iter, eps=product.eps, scale=largest()
            )
        alignment = None if product.frobenius is None else found.first / product.frobenius
        result[name] = {
            "quad": [found.lower], "lower": [found.lower], "upper": [found.upper], "norm": [math.sqrt(found.upper)],
            "ridge": [rho], "residual": None, "iterations": found.iterations, "solver": "lanczos",
            "alignment": alignment,
        }  # fmt: skip
    return result


def _largest(product: Product, like: Tensor) -> float:
    """The kernel's largest eigenvalue, whatever the residuals: from a fixed random vector of the shape of ``like``."""
    start = torch.randn(len(like), dtype=like.dtype, generator=torch.Generator().manual_seed(0)).to(like.device)
    values, _ = quadrature(*lanczos(product.matvec, start, LARGEST_STEPS))
    return float(values[-1])


def _preconditioned(product: Product, v: Tensor, rho: float, tol: float, max_iter: int | None) -> Bracket | None:
    r"""The bracket by Lanczos on the kernel preconditioned with its mean over outputs, which takes fewer products.

    The operator is :math:`L^{-1} (K + \rho I) L^{-\top}` with :math:`L L^\top = (\bar K + \rho I) \otimes I`. As K is
    semi-definite, no eigenvalue of it is below :math:`\rho / (\lambda_{\max}(\bar K) + \rho)`, and the form of its
    inverse is at most :math:`\|L u\|^2 / \rho` for any u: of the two the second closes the bracket sooner. None where
    there is no mean kernel, or rounding would reach the spectrum's lower end.
    """
    if product.mean is None or product.eps > EPS:
        return None
    largest = extreme_eigenvalues(product.mean)[1]
    if rho < LEAST_RIDGE * largest:
        return None
    L = Cholesky(WHERE, product.mean, rho, "ridge").L
    N = len(L)

    def solved(factor: Tensor, u: Tensor, *, upper: bool) -> Tensor:
        return torch.linalg.solve_triangular(factor, u.view(N, -1), upper=upper).flatten()

    bound = 0.0

    def matvec(u: Tensor) -> Tensor:
        nonlocal bound
        bound = float((L @ u.view(N, -1)).square().sum()) / rho
        w = solved(L.mT, u, upper=True)
        return solved(L, product.matvec(w) + rho * w, upper=False)

    # The largest may be found from below; the margin of a thousandth costs nothing. The operator's own eigenvalues are
    # 1 on average, as the mean over outputs of its blocks is the identity.
    least = rho / (1.001 * largest + rho)
    start = solved(L, v, upper=False)
    return inverse_form(
        WHERE, matvec, start, 0.0, tol=tol, max_iter=max_iter, least=least, eps=EPS / least, scale=1.0,
        rounding=TRIANGULAR, most=lambda: bound,
    )  # fmt: skip


def _of_zero(product: Product, rho: float) -> Solved:
    """No residual: nothing to solve."""
    fields: Solved = {key: [0.0] for key in ("quad", "lower", "upper", "norm")}
    alignment = None if product.frobenius is None else math.nan
    return {**fields, "ridge": [rho], "residual": None, "iterations": 0, "solver": "lanczos", "alignment": alignment}
