"""Supervision complexity of targets for a network, under its tangent kernel."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.blocks import ntk
from infotorch.blocks.loading import refuse_loader
from infotorch.errors import ConfigError, DataError, ShapeError, check_choice, unknown
from infotorch.measures.kernel_input import Array
from infotorch.measures.supervision.brackets import by_products
from infotorch.measures.supervision.from_kernel import reports_from_kernel
from infotorch.measures.supervision.inputs import WHERE, Kernel, Ridges, checked_targets
from infotorch.measures.supervision.products import batches, diagonal, product_of_task
from infotorch.measures.supervision.report import ComplexityReport, ComplexityReports
from infotorch.measures.supervision.solve import LARGEST, Solver, check_solver, report_of
from infotorch.task import Task

__all__ = ["supervision_complexity"]

SUM_TOLERANCE = 1e-4
"""How far from 1 the rows of targets may add up."""
LARGEST_MEAN = 32768
"""Samples of the largest mean kernel that is formed: 8 GiB."""


@torch.no_grad()
def supervision_complexity(
    task: Task,
    data: Any,
    targets: Array | Mapping[str, Array],
    *,
    f0: Literal["student", "zero"] | Array = "student",
    tau: float = 1.0,
    output: Literal["logits", "probs"] = "logits",
    kernel: Literal["full", "avg"] = "full",
    ridge: float | Sequence[float] | None = None,
    ridge_rel: float | Sequence[float] | None = None,
    solver: Solver = "auto",
    tol: float = 1e-3,
    max_iter: int | None = None,
    spectrum: bool = False,
) -> ComplexityReport | ComplexityReports:
    r"""Supervision complexity of targets for a network, :math:`(P - f_0)^\top (K + \rho I)^{-1} (P - f_0)`.

    K is the tangent kernel of the network at its present weights on these samples (Harutyunyan et al., arXiv
    2301.12245). Labels that are hard for the network have a large one; a teacher's soft predictions early in its
    training a small one. The network may have been trained on the samples, so the report is a diagnostic, and
    ``fixed_kernel`` is False: see :func:`margin_bound`.

    Up to N*C = 8192 the kernel is formed and factorised. Beyond it, or with ``solver="lanczos"``, it is known by its
    products with vectors, from two passes over the samples each; then ``alignment`` is None. A small ridge makes the
    bracket close slowly: ``ridge_rel`` of 1e-3 and more is advised there. The ridge must exceed 1e-5 of the largest
    eigenvalue for a float32 network, which may ask for ``model.double()``.

    Args:
        task: Model and parameters; its loss is not used.
        data: (x, y), a dict, or x alone; y is not used.
        targets: P as it is, without a softmax inside: [N, C], float, or several by name, which share one factor.
        f0: ``"student"``: softmax(outputs / tau), for targets that are probabilities; ``"zero"``; or numbers [N, C].
        tau: Temperature of ``f0="student"`` alone; targets at a temperature are the caller's.
        output: The kernel of the logits, or that of ``"probs"``, softmax(outputs) at temperature 1.
        kernel: ``"full"``; or ``"avg"``, where the mean over outputs stands for the kernel of each: [N, N] in place of
            [N*C, N*C], an approximation with values of its own, for at most 32,768 samples.
        ridge: rho, absolute; several give arrays.
        ridge_rel: rho in units of Tr(K)/(N C). One of both must be given.
        solver: ``"cholesky"``, ``"lanczos"``, or by size.
        tol: Relative width at which the bracket of Lanczos is good.
        max_iter: Products of Lanczos at most; the bracket that they reach is then returned. Default: an error after
            1,000 products with a wider bracket.
        spectrum: Whether to return the eigenvalues and the cumulative alignment.

    Returns:
        :class:`ComplexityReport`; of a dict of targets :class:`ComplexityReports`, a mapping by name.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ShapeError: Targets or f0 are not [N, C].
        DataError: A value is not finite, or rows of targets don't sum to 1 where f0 is the student's probabilities.
        ConfigError: Not exactly one ridge is given, an option is unknown, or N*C, of ``avg`` N, is too large.
        NumericsError: As for :func:`complexity_from_kernel`.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).double().eval())
        >>> x, P = torch.eye(3, dtype=torch.float64), torch.eye(3, 2, dtype=torch.float64)
        >>> supervision_complexity(task, x, P, f0="zero", ridge=1.0).trace
        18.0
    """
    if not isinstance(task, Task):
        raise ConfigError(f"{WHERE}: task must be a Task; got {type(task).__name__}. Pass Task(model).")
    for name, value, valid in (("output", output, ("logits", "probs")), ("kernel", kernel, ("full", "avg"))):
        check_choice(WHERE, name, value, valid)
    if not isinstance(tau, int | float) or not 0 < tau < float("inf"):
        raise ConfigError(f"{WHERE}: tau must be above 0 and finite; got {tau!r}. Pass a temperature, 1 for none.")
    refuse_loader(WHERE, data)
    ridges = Ridges.of(ridge, ridge_rel)
    named, single = checked_targets(WHERE, targets)
    x = task.inputs(data)
    N = task.check_inputs(x)
    logits = _outputs(task, x)
    residuals = _residuals(named, logits, f0, tau)
    probabilities = _probabilities(logits, 1.0, "output='probs'") if output == "probs" else None
    factor = None  # [N, C, C]
    if probabilities is not None:
        factor = probabilities.diag_embed() - probabilities[:, :, None] * probabilities[:, None]
    C = logits[0].numel()
    rows = N if kernel == "avg" else N * C
    dense = spectrum or not ridges.single or min(ridges.values) == 0
    chosen = check_solver(solver, rows, dense=dense, tol=tol, max_iter=max_iter)
    if kernel == "avg" and N > LARGEST_MEAN:
        raise ConfigError(
            f"{WHERE}: kernel='avg' forms a kernel of at most N = {LARGEST_MEAN} samples; got {N}. "
            "Pass kernel='full' with solver='lanczos', which forms none, or fewer samples."
        )
    if kernel == "full" and chosen == "lanczos":
        found = _matrix_free(task, x, residuals, factor, ridges, tau=float(tau), tol=tol, max_iter=max_iter)
    else:
        found = reports_from_kernel(
            _matrix(task, x, factor, kernel, C), residuals, ridges, solver=solver, tol=tol, max_iter=max_iter,
            spectrum=spectrum, tau=float(tau), fixed_kernel=False,
        )  # fmt: skip
    return next(iter(found.values())) if single else found


def _outputs(task: Task, x: Any) -> Tensor:
    return torch.cat([task.outputs(few).double() for _, few in batches(x)])


def _residuals(named: Mapping[str, Tensor], logits: Tensor, f0: Any, tau: float) -> dict[str, Tensor]:
    """P - f0 of all targets, on the model's device."""
    shape = (len(logits), logits[0].numel())
    for name, P in named.items():
        if P.shape != shape:
            raise ShapeError(
                f"{WHERE}: targets must be [N, C] = {list(shape)}, a column for each of the model's outputs; got "
                f"{list(P.shape)} for {name!r}. Give targets of the same samples and classes."
            )
    if not isinstance(f0, str):
        start = checked_targets(WHERE, {"f0": f0})[0]["f0"]
        if start.shape != shape:
            raise ShapeError(f"{WHERE}: f0 must be [N, C] = {list(shape)}; got {list(start.shape)}. Pass its outputs.")
    elif f0 == "student":
        start = _probabilities(logits, tau, 'f0="student"')
        for name, P in named.items():
            wrong = ~((P.sum(1) - 1).abs() <= SUM_TOLERANCE)
            if wrong.any():
                n = int(wrong.nonzero()[0])
                raise DataError(
                    f'{WHERE}: rows of targets must sum to 1 where f0="student", whose probabilities they are compared '
                    f'with; got {float(P[n].sum()):g} at sample {n} of {name!r}. Pass probabilities, or f0="zero".'
                )
    elif f0 == "zero":
        start = logits.new_zeros(shape)
    else:
        raise unknown(WHERE, "f0", f0, ("student", "zero"))
    return {name: P.to(logits.device) - start.to(logits.device) for name, P in named.items()}


def _probabilities(logits: Tensor, tau: float, option: str) -> Tensor:
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ConfigError(
            f"{WHERE}: {option} needs one logit for each of two classes or more, [N, C]; got outputs "
            f'{list(logits.shape)}. Pass f0="zero" or numbers, and output="logits".'
        )
    return (logits / tau).softmax(1)


def _matrix(task: Task, x: Any, factor: Tensor | None, kernel: str, C: int) -> Kernel:
    """The kernel as a matrix; that of probabilities is formed of all outputs before it is averaged."""
    eps = torch.finfo(next(iter(task.parameters().values())).dtype).eps
    shared = kernel == "avg"
    if factor is None:
        return Kernel(matrix=ntk(task, x, outputs="trace" if shared else "full").matrix, C=C, shared=shared, eps=eps)
    N = len(factor)
    if N * C > LARGEST:
        raise ConfigError(
            f"{WHERE}: output='probs' forms a kernel of at most N*C = {LARGEST} rows; got {N * C}. "
            "Pass solver='lanczos' with kernel='full', or fewer samples."
        )
    left = (factor @ ntk(task, x).values.view(N, C, N * C)).view(N * C, N, C)
    values = torch.einsum("rmd,mde->rme", left, factor).view(N, C, N, C)
    matrix = values.diagonal(dim1=1, dim2=3).mean(-1) if shared else values.reshape(N * C, N * C)
    return Kernel(matrix=(matrix + matrix.mT) / 2, C=C, shared=shared, eps=eps)


def _matrix_free(
    task: Task,
    x: Any,
    residuals: Mapping[str, Tensor],
    factor: Tensor | None,
    ridges: Ridges,
    *,
    tau: float,
    tol: float,
    max_iter: int | None,
) -> ComplexityReports:
    diag = diagonal(task, x, factor)
    product = product_of_task(task, x, factor, diag)
    found = by_products(product, residuals, ridges, tol=tol, max_iter=max_iter)
    return ComplexityReports({
        name: report_of(
            found[name], r, single=True, kernel_trace=product.trace, max_diagonal=float(diag.max()), tau=tau,
            fixed_kernel=False,
        )
        for name, r in residuals.items()
    })  # fmt: skip
