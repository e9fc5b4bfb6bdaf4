"""Supervision complexity and alignment of targets under a kernel that is given as a matrix."""

from collections.abc import Mapping, Sequence
from typing import overload

import torch
from torch import Tensor

from infotorch.errors import DataError
from infotorch.linalg.brackets import EPS
from infotorch.linalg.eigen import extreme_eigenvalues
from infotorch.measures.kernel_input import Array
from infotorch.measures.supervision.brackets import Product, by_products
from infotorch.measures.supervision.inputs import WHERE, Kernel, Ridges, checked_kernel, checked_targets
from infotorch.measures.supervision.report import ComplexityReport, ComplexityReports
from infotorch.measures.supervision.solve import Solver, by_matrix, check_solver, report_of

__all__ = ["complexity_from_kernel", "kernel_alignment", "reports_from_kernel"]

Ridge = float | Sequence[float] | None


@overload
def complexity_from_kernel(
    K: Array,
    targets: Mapping[str, Array],
    *,
    ridge: Ridge = None,
    ridge_rel: Ridge = None,
    solver: Solver = "auto",
    tol: float = 1e-3,
    max_iter: int | None = None,
    spectrum: bool = False,
) -> ComplexityReports: ...


@overload
def complexity_from_kernel(
    K: Array,
    targets: Array,
    *,
    ridge: Ridge = None,
    ridge_rel: Ridge = None,
    solver: Solver = "auto",
    tol: float = 1e-3,
    max_iter: int | None = None,
    spectrum: bool = False,
) -> ComplexityReport: ...


@torch.no_grad()
def complexity_from_kernel(
    K: Array,
    targets: Array | Mapping[str, Array],
    *,
    ridge: Ridge = None,
    ridge_rel: Ridge = None,
    solver: Solver = "auto",
    tol: float = 1e-3,
    max_iter: int | None = None,
    spectrum: bool = False,
) -> ComplexityReport | ComplexityReports:
    r"""Supervision complexity of targets under a kernel, :math:`r^\top (K + \rho I)^{-1} r`.

    Large where the targets have mass on eigenvectors of small eigenvalues, which gradient descent learns last
    (Harutyunyan et al., "Supervision complexity and its role in knowledge distillation", arXiv 2301.12245). The paper's
    normaliser of its plots was not read again: ``adjusted`` is the quantity of its margin bound, ``unit_adjusted``
    compares targets of different scale, and is at least root C on average over directions of r.

    All targets and ridges share one factorisation, in float64 and on K's device: Cholesky for one ridge, an
    eigendecomposition for several, for ridge 0 and for ``spectrum``. By Lanczos each target has a run of its own.

    Args:
        K: Kernel, [N*C, N*C] or [N, C, N, C], rows by sample, then by output; float32 or float64, positive
            semi-definite. Averaged with its transpose.
        targets: The residual r = P - f0 as it is, [N, C] ([N] for one output), float; or several by name.
        ridge: rho, absolute; several give arrays. 0 needs a smallest eigenvalue above 1e-9 of the largest.
        ridge_rel: rho in units of Tr(K)/(N C), in place of ``ridge``. One of both must be given.
        solver: ``"cholesky"`` up to N*C = 8192 rows, ``"lanczos"``, or by size.
        tol: Relative width at which the bracket of Lanczos is good.
        max_iter: Products of Lanczos at most; the bracket that they reach is then returned. Default: an error after
            1,000 products with a wider bracket.
        spectrum: Whether to return the eigenvalues and the cumulative alignment.

    Returns:
        :class:`ComplexityReport`, whose kernel is taken as chosen without these samples; of a dict of targets
        :class:`ComplexityReports`, a mapping by name.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, a dtype is not a float, K is not symmetric, or nothing is there.
        ConfigError: Not exactly one ridge is given, an option is unknown, or the kernel is too large for its solver.
        NumericsError: K has a negative eigenvalue, is singular where ridge is 0, is of float32 with a ridge below
            1e-5 of its largest eigenvalue, or the bracket does not close.

    Example:
        >>> report = complexity_from_kernel([[2.0, 1.0], [1.0, 2.0]], [[1.0], [-1.0]], ridge=1.0)
        >>> round(report.quad, 12), report.trace
        (1.0, 6.0)
    """
    residuals, single = checked_targets(WHERE, targets)
    options = Ridges.of(ridge, ridge_rel)
    N, C = next(iter(residuals.values())).shape
    kernel = checked_kernel(WHERE, K, C, N=N)
    found = reports_from_kernel(
        kernel, residuals, options, solver=solver, tol=tol, max_iter=max_iter, spectrum=spectrum
    )  # fmt: skip
    return next(iter(found.values())) if single else found


def reports_from_kernel(
    kernel: Kernel,
    residuals: Mapping[str, Tensor],
    ridges: Ridges,
    *,
    solver: Solver,
    tol: float,
    max_iter: int | None = None,
    spectrum: bool,
    tau: float = 1.0,
    fixed_kernel: bool = True,
) -> ComplexityReports:
    """Reports of checked targets under a checked kernel, by name."""
    device = kernel.matrix.device
    residuals = {name: r.to(device) for name, r in residuals.items()}
    dense = spectrum or not ridges.single or min(ridges.values) == 0
    chosen = check_solver(solver, len(kernel.matrix), dense=dense, tol=tol, max_iter=max_iter)
    if chosen == "lanczos":
        found = by_products(product_of(kernel), residuals, ridges, tol=tol, max_iter=max_iter)
    else:
        found = by_matrix(kernel, residuals, ridges, spectrum=spectrum)
    return ComplexityReports({
        name: report_of(
            found[name], r, single=ridges.single, kernel_trace=kernel.trace, tau=tau, fixed_kernel=fixed_kernel,
            max_diagonal=float(kernel.matrix.diagonal().max()), kernel="avg" if kernel.shared else "full",
        )
        for name, r in residuals.items()
    })  # fmt: skip


def product_of(kernel: Kernel) -> Product:
    """Products with a matrix; one that all outputs share multiplies each of them."""
    K, N = kernel.matrix, kernel.N

    def matvec(v: Tensor) -> Tensor:
        return (K @ v.view(N, -1)).flatten() if kernel.shared else K @ v

    largest = extreme_eigenvalues(K)[1] if kernel.eps > EPS else float(K.norm())
    return Product(matvec=matvec, trace=kernel.trace, frobenius=kernel.frobenius(), eps=kernel.eps, largest=largest)


@torch.no_grad()
def kernel_alignment(K: Array, targets: Array) -> float:
    r"""Kernel-target alignment, :math:`r^\top K r / (\|K\|_F \|r\|^2)`, in [0, 1] for K positive semi-definite.

    Of Cristianini et al., "On kernel-target alignment" (2001), uncentred; no ridge. A diagnostic.

    Args:
        K: Kernel, [N*C, N*C] or [N, C, N, C], as for :func:`complexity_from_kernel`.
        targets: r, [N, C], or [N] for one output.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, K is not symmetric, or the targets are zero.

    Example:
        >>> round(kernel_alignment([[2.0, 1.0], [1.0, 2.0]], [1.0, 1.0]), 4)
        0.9487
    """
    where = "kernel_alignment"
    (r,) = checked_targets(where, {"targets": targets})[0].values()
    kernel = checked_kernel(where, K, r.shape[1], N=len(r))
    v = r.reshape(-1).to(kernel.matrix.device)
    square = float(v @ v)
    if not square:
        raise DataError(f"{where}: targets must not be all zero; got zeros. Pass targets with a direction.")
    return float(v @ (kernel.matrix @ v)) / (kernel.frobenius() * square)
