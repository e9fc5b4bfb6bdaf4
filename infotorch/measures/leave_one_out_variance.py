"""How far apart the trainings lie that each lack one sample."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.measures.information import refuse_unreliable, relative_error
from infotorch.measures.kernel_input import Array, kernel_input
from infotorch.measures.leave_out import Removal, leave_out
from infotorch.measures.schedule import WHERE, Numbers, schedule

__all__ = ["LeaveOneOutVariance", "leave_one_out_variance_from_kernel"]

NODES = 40


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutVariance:
    """Variances with a leading time axis; float64, on the kernel's device."""

    weights: Tensor
    """Of the weights, [times]."""
    functions: Tensor | None
    """Of the outputs, summed over the test samples and their outputs, [times]; None without a test kernel."""


@torch.no_grad()
def leave_one_out_variance_from_kernel(
    K: Array,
    residual: Array,
    K_test: Array | None = None,
    *,
    ridge: float = 0.0,
    time: Numbers | None = None,
    lr: float | None = None,
    steps: Numbers | None = None,
    overwrite: bool = False,
) -> LeaveOneOutVariance:
    r"""Variance of the trained weights over the sample that is left out, exactly for a linearized network.

    With :math:`w_{-u}` trained without sample u, and u uniform,

    .. math:: \tfrac1N \textstyle\sum_u \|w_{-u} - \bar w\|^2
        = \tfrac1N \sum_u \|\delta_u\|^2 - \|\tfrac1N \sum_u \delta_u\|^2, \qquad \bar w = \tfrac1N \sum_u w_{-u},

    where :math:`\delta_u` is the change from a training with everyone, whatever its own ridge. It is half the mean of
    :math:`\|w_{-u} - w_{-v}\|^2` over all ordered pairs. Options are those of every training without a sample, on the
    summed loss of its N - 1 samples: with a mean loss, ``ridge = (N - 1) l2`` and ``time = lr steps / (N - 1)``.

    Args:
        K: Kernel of the Jacobian, [N C, N C], rows by sample, then by output.
        residual: y - f0, [N, C].
        K_test: [M C, N C].
        ridge: Weight of half the squared distance from the initial weights.
        time: Gradient-flow times, one or several; default: inf.
        lr: Step size of gradient descent, with ``steps`` in place of ``time``.
        steps: Numbers of steps, one or several.
        overwrite: Let the solve take K's memory, if K is a contiguous float64 tensor: K is destroyed.

    Returns:
        Variances, at least 0.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, or K is not symmetric.
        ConfigError: An option is out of range.
        NumericsError: As in :func:`unique_information_from_kernel`.

    Example:
        >>> K = torch.eye(2, dtype=torch.float64)
        >>> leave_one_out_variance_from_kernel(K, torch.tensor([[2.0], [0.0]])).weights
        tensor([1.], dtype=torch.float64)
    """
    data = kernel_input(WHERE, K, residual, K_test)
    N, C = data.residual.shape
    plan = schedule(ridge=ridge, ridge_without=None, time=time, time_without=None, lr=lr, lr_without=None, steps=steps)
    rows = torch.arange(N * C, device=data.kernel.device).view(N, C)
    left = leave_out(
        data.problem(overwrite=overwrite),
        [Removal(rows=rows, full=plan.full, without=plan.for_set(0))],
        nodes=NODES,
        return_sums=True,
    )
    refuse_unreliable(relative_error(left), "sample")
    assert left.summed_weights is not None
    functions = None
    if left.functions is not None:
        assert left.summed_functions is not None
        functions = data.num_test * _variance(left.functions, left.summed_functions)
    return LeaveOneOutVariance(weights=_variance(left.weights, left.summed_weights), functions=functions)


def _variance(squared: Tensor, of_sum: Tensor) -> Tensor:
    """[times] from squared norms [times, N] and that of their sum [times]; rounding may dip below zero."""
    N = squared.shape[1]
    return (squared.mean(1) - of_sum / N**2).clamp(min=0)
