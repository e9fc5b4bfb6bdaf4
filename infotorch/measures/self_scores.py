r"""What a sample does to its own loss, and to its own log-odds, to first order: from a kernel or from features.

With :math:`u_i` the gradient of a number of sample i in the weights, :math:`U` these gradients' rows and
:math:`\lambda` a ridge, both scores are :math:`u_i^\top (H + \lambda I)^{-1} u_i`:

* self-influence has the loss's gradient and the loss's Gauss-Newton matrix H, which is :math:`J^\top J` for the problem
  that training is: half the squared error of J, or of :math:`R^\top J` for cross-entropy;
* TRAK has the gradient of the log-odds :math:`\log p/(1 - p)` of the label and :math:`H = U^\top U`, times 1 - p.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from infotorch.errors import NumericsError
from infotorch.linalg.eigen import Eigen
from infotorch.linalg.symmetric import inverse
from infotorch.measures.baselines.outputs import classes, logits_of
from infotorch.measures.primal.moments import TILE_BYTES, Moments, second_moment
from infotorch.measures.schedule import WHERE
from infotorch.measures.spectrum import EPS, not_definite
from infotorch.task import Task

__all__ = ["ALSO", "LogOdds", "check_classes_of", "from_features", "from_kernel", "log_odds", "log_odds_moments"]

ALSO = ("self_influence", "trak_self")
"""Columns, and what they are asked for by."""


@dataclass(frozen=True, kw_only=True)
class LogOdds:
    """The log-odds of the label, log p / (1 - p), in what training regresses."""

    gradient: Tensor
    """In the regressed outputs, [N, C], or [N, C - 1] of the problem that cross-entropy is; float64."""
    doubt: Tensor
    """1 - p, [N], without cancellation."""


class Problem(Protocol):
    """The regression that the scores are of."""

    @property
    def residual(self) -> Tensor:
        """[N, V]."""

    @property
    def f0(self) -> Tensor:
        """The network's outputs, [N, C]."""

    @property
    def weighted(self) -> bool:
        """Whether the regressed outputs are R^T f, of the Gauss-Newton model of cross-entropy."""


def check_classes_of(task: Task, y: Tensor, few: Tensor) -> None:
    """Refuse TRAK's score before any work; ``few`` are some outputs [n, C].

    Raises:
        ConfigError: The outputs are not the logits of one choice among classes.
        DataError: ``y`` holds no class labels.
    """
    logits_of("trak_self", task, few)
    classes("trak_self", task, y)


def log_odds(task: Task, problem: Problem, y: Tensor) -> LogOdds:
    r"""Of the label of every sample, :math:`f_y - \log \sum_{c \ne y} e^{f_c}`; y class labels [N]."""
    f = logits_of("trak_self", task, problem.f0)  # [N, C], or [N, 2] of one logit
    given = classes("trak_self", task, y)[:, None]
    others = f.scatter(1, given, -torch.inf)
    doubt = (others.logsumexp(1) - f.logsumexp(1)).exp()
    if problem.weighted:  # the loss's gradient is -(1 - p) times that of the log-odds, the residual -R^+ times it
        return LogOdds(gradient=problem.residual / doubt[:, None], doubt=doubt)
    gradient = one_hot(given[:, 0], f.shape[1]) - others.softmax(1)
    return LogOdds(gradient=gradient[:, -problem.f0.shape[1] :], doubt=doubt)


def from_kernel(
    kernel: Tensor, residual: Tensor, odds: LogOdds | None, kept: Tensor, *, ridge: float, influence: bool
) -> dict[str, Tensor]:
    """The scores [N] by column; samples outside of ``kept`` bool [N] are in no training and score 0.

    Each score takes one inverse of a matrix like its kernel's.

    Args:
        kernel: [N V, N V], or [N, N] where all V outputs share it; float64.
        residual: [N, V].
        odds: For TRAK's score; None: it is not asked for.
        kept: Who is there.
        ridge: Above 0.
        influence: Whether self-influence is asked for.

    Raises:
        NumericsError: The kernel is indefinite.
    """
    if not kept.all():
        there = kept.to(kernel.device)
        rows = there.repeat_interleave(len(kernel) // len(kept))
        few = None if odds is None else LogOdds(gradient=odds.gradient[there], doubt=odds.doubt[there])
        kernel, residual, odds = kernel[rows][:, rows], residual[there], few
    found = {}
    if influence:
        found["self_influence"] = _quadratic(kernel, residual, ridge)
    if odds is not None:
        w = odds.gradient
        found["trak_self"] = odds.doubt * _quadratic(_contracted(kernel, w), torch.ones_like(w[:, :1]), ridge)
    return {name: _placed(values, kept) for name, values in found.items()}


def from_features(
    features: Tensor, residual: Tensor, odds: LogOdds | None, kept: Tensor, moments: Moments, *, ridge: float,
    influence: bool,
) -> dict[str, Tensor]:  # fmt: skip
    """The same of features [N, V, k], or [N, k] where outputs share them, among all that ``moments`` sums up.

    Raises:
        NumericsError: ``ridge`` is 0 and the samples don't span all directions.
    """
    found = {}
    if influence:
        if features.dim() == 2:  # features of output c are in block c, whose matrix is that of any other
            each = residual.square().sum(1) * _by_eigen("self_influence", moments.eigen, iter([features]), ridge)
        else:
            each = _by_eigen("self_influence", moments.eigen, _gradients(features, residual), ridge)
        found["self_influence"] = each
    if odds is not None:
        assert moments.log_odds is not None
        gradients = _gradients(features, odds.gradient)
        found["trak_self"] = odds.doubt * _by_eigen("trak_self", moments.log_odds.eigen, gradients, ridge)
    there = kept.to(residual.device)
    return {name: values.where(there, 0) for name, values in found.items()}


def log_odds_moments(features: Tensor, gradient: Tensor, kept: Tensor) -> Moments:
    """The second moment of the log-odds' gradients, one row a kept sample; it has no cross term."""
    there = kept.to(gradient.device)
    parts = [second_moment(rows) for rows in _gradients(features[there], gradient[there])]
    width = features.shape[-1] * (gradient.shape[1] if features.dim() == 2 else 1)
    second = sum(parts, start=gradient.new_zeros(width, width))
    return Moments(second=second, cross=gradient.new_zeros(width, 0), num_samples=int(kept.sum()))


def _gradients(features: Tensor, u: Tensor) -> Iterator[Tensor]:
    """Gradients in the weights [n, k] of numbers whose gradients in the outputs are u [N, V]; some samples at a time.

    Where outputs share features a gradient has a block for each of them, [n, V k].
    """
    step = max(1, TILE_BYTES // (8 * u.shape[1] * features.shape[-1]))
    for rows, some in zip(features.split(step), u.split(step), strict=True):
        equation = "nk,nc->nck" if features.dim() == 2 else "nck,nc->nk"
        yield torch.einsum(equation, rows.to(torch.float64), some).flatten(1)


def _by_eigen(name: str, eigen: Eigen, gradients: Iterator[Tensor], ridge: float) -> Tensor:
    values = eigen.values
    rank, k = int((values > 0).sum()), len(values)
    if ridge == 0 and rank < k:
        raise NumericsError(
            f"{WHERE}: without l2 the samples must span all directions of the gradients that {name} is of; got rank "
            f"{rank} of {k}. Give l2 > 0, or at most {rank} features."
        )
    gain = (1 / (values + ridge)).where(values > 0, 0)
    return torch.cat([(rows.to(torch.float64) @ eigen.vectors.mT).square() @ gain for rows in gradients])


def _quadratic(kernel: Tensor, u: Tensor, ridge: float) -> Tensor:
    """u_i^T [K (K + ridge I)^-1]_ii u_i [N] of u [N, V]; K [N V, N V], or [N, N] for all V."""
    N = len(u)
    b = len(kernel) // N
    A = kernel.clone(memory_format=torch.contiguous_format)
    A.diagonal().add_(ridge)
    B = inverse(A)
    if B is None:
        raise not_definite(WHERE, kernel, EPS, ridge)
    if ridge <= kernel.diagonal().mean():
        at = torch.arange(N, device=u.device)
        share = torch.eye(b, dtype=u.dtype, device=u.device) - ridge * B.reshape(N, b, N, b)[at, :, at]  # [N, b, b]
    else:  # the difference from the identity would be small
        share = kernel.reshape(N, b, -1) @ B.reshape(N, b, -1).mT
    sides = u.view(N, b, -1)
    return (sides * (share @ sides)).sum((1, 2))


def _contracted(kernel: Tensor, w: Tensor) -> Tensor:
    """w_i^T K_ij w_j, [N, N]."""
    N, V = w.shape
    if len(kernel) == N:
        return kernel * (w @ w.mT)
    half = (w[:, None] @ kernel.view(N, V, N * V)).view(N, N, V)
    return torch.einsum("nmv,mv->nm", half, w)


def _placed(values: Tensor, kept: Tensor) -> Tensor:
    whole = values.new_zeros(len(kept))
    whole[kept.to(values.device)] = values
    return whole
