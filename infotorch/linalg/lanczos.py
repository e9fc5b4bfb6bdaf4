"""Lanczos tridiagonalization of a symmetric operator, and quadratic forms of its functions by it."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError, ShapeError, check_whole

__all__ = ["coefficients", "lanczos", "quadrature", "spectral_sum"]

BREAKDOWN = 1e-10
"""A residual of at most this times the largest Ritz value ends the loop: what follows may be rounding."""

Operator = Callable[[Tensor], Tensor]


class Step(NamedTuple):
    """What one product adds to the tridiagonal matrix."""

    alpha: float
    beta: float
    """Norm of the residual; 0 where the basis has n vectors."""
    whole: bool
    """No step follows."""


def lanczos(matvec: Operator, probe: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    r"""The tridiagonal matrix :math:`Q^\top A Q` of a symmetric operator A on the Krylov space of a probe.

    Every new vector is made orthogonal to all before it, twice, so that no eigenvalue comes out several times. The loop
    ends early where the residual is at most 1e-10 of the largest Ritz value in absolute terms: the space then has, up
    to that residual, all directions of A that the probe has a part in. A function that is steep within 1e-10 of the
    largest eigenvalue, as the inverse with a small shift is, may still differ. In float64, but for ``matvec``.

    Args:
        matvec: v [n] -> A v [n]; v is of norm 1 and of the probe's dtype. A is not checked to be symmetric.
        probe: v, [n], not zero; of integers it counts as float64.
        steps: Calls of ``matvec``, at most; more than n are never needed.

    Returns:
        (alpha [m], beta [m - 1]), the diagonal and what stands beside it, float64 on the probe's device, m <= steps.

    Raises:
        ConfigError: ``steps`` is below 1, or the probe is zero.
        NumericsError: The probe or a product is not finite.
        ShapeError: The probe is no vector, or a product has another shape.

    Example:
        >>> lanczos(lambda v: 3 * v, torch.ones(5), steps=4)
        (tensor([3.], dtype=torch.float64), tensor([], dtype=torch.float64))
    """
    check_whole("lanczos", "steps", steps, 1)
    found = list(itertools.islice(coefficients(matvec, probe), steps))
    alpha, beta, _ = zip(*found, strict=True)
    T = torch.tensor([alpha, beta], dtype=torch.float64, device=probe.device)
    return T[0], T[1, :-1]


def coefficients(matvec: Operator, probe: Tensor) -> Iterator[Step]:
    """(alpha_j, beta_j) a step of :func:`lanczos`, until the space is whole; the last beta is 0 in n steps alone.

    What goes on keeps the basis, so that more steps may be asked for later.
    """
    if probe.dim() != 1:
        raise ShapeError(f"lanczos: probe must be one vector [n]; got {list(probe.shape)}. Pass a probe at a time.")
    n, v = len(probe), probe.detach().double()
    given = probe.dtype if probe.is_floating_point() else v.dtype
    size = float(v.norm())
    if not size < torch.inf:
        raise NumericsError("lanczos: probe must be finite; got NaN or infinity. Look at what it is made of.")
    if size == 0:
        raise ConfigError("lanczos: probe must not be zero; got zero. Its quadratic forms are 0 without any step.")
    v = v / size
    basis = v.new_empty(min(n, 16), n)
    alpha: list[float] = []
    beta: list[float] = []
    for j in range(n):
        if j == len(basis):
            basis = torch.cat([basis, basis.new_empty(min(n - j, j), n)])
        basis[j] = v
        known = basis[: j + 1]
        w = matvec(v.to(given))
        if w.shape != v.shape:
            raise ShapeError(
                f"lanczos: matvec must return a vector like its own [{n}]; got {list(w.shape)}. Correct matvec."
            )
        w = w.detach().double()
        along = known @ w
        alpha.append(float(along[j]))
        w = w - known.mT @ along
        w = w - known.mT @ (known @ w)  # twice is enough: the first pass loses digits to cancellation
        residual = float(w.norm())
        if not residual < torch.inf:
            raise NumericsError(
                f"lanczos: matvec must be finite; got NaN or infinity in step {j}. Look at the operator."
            )
        whole = j + 1 == n or _negligible(residual, alpha, beta)
        beta.append(0.0 if j + 1 == n else residual)
        yield Step(alpha[j], beta[j], whole)
        if whole:
            return
        v = w / residual


def _negligible(residual: float, alpha: list[float], beta: list[float]) -> bool:
    sides = [abs(b) for b in beta]
    reach = max(abs(a) + b + c for a, b, c in zip(alpha, [0.0, *sides], [*sides, 0.0], strict=True))
    if residual > BREAKDOWN * reach:  # Gershgorin: no Ritz value is larger, and none need be computed
        return False
    T = _tridiagonal(torch.tensor(alpha, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64))
    return residual <= BREAKDOWN * float(torch.linalg.eigvalsh(T).abs().max())


def _tridiagonal(alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha.diag() + beta.diag(1) + beta.diag(-1)


def quadrature(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    r"""Ritz values :math:`\theta` [m], increasing, and weights :math:`(e_1^\top u_k)^2` [m] that sum to 1."""
    theta, columns = torch.linalg.eigh(_tridiagonal(alpha, beta))
    return theta, columns[0].square()


def spectral_sum(tridiag: tuple[Tensor, Tensor], fn: Callable[[Tensor], Tensor]) -> float:
    r"""Quadratic form of a function of the operator, :math:`v^\top f(A) v / \|v\|^2`, by Gauss quadrature.

    :math:`\sum_k (e_1^\top u_k)^2 f(\theta_k)` over the eigenpairs of what :func:`lanczos` returned (Golub and Welsch;
    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", 2017). Exact for polynomials
    of degree 2 m - 1, and for every f where m = n. One run serves any number of functions. Times
    :math:`\|v\|^2` and averaged over random probes with independent entries of variance 1 it estimates the trace of
    f(A).

    Args:
        tridiag: (alpha [m], beta [m - 1]).
        fn: f, elementwise on float64 [m].

    Returns:
        The form without the factor :math:`\|v\|^2`.

    Raises:
        ShapeError: alpha and beta do not belong together.

    Example:
        >>> spectral_sum(lanczos(lambda v: 3 * v, torch.ones(5), steps=4), torch.square)
        9.0
    """
    alpha, beta = tridiag
    if alpha.dim() != 1 or not len(alpha) or beta.shape != (len(alpha) - 1,):
        raise ShapeError(
            f"spectral_sum: tridiag must be alpha [m] and beta [m - 1]; got {list(alpha.shape)} and "
            f"{list(beta.shape)}. Pass what lanczos returned."
        )
    theta, weights = quadrature(alpha.double(), beta.double())
    return float(weights @ torch.as_tensor(fn(theta), dtype=theta.dtype, device=theta.device))
