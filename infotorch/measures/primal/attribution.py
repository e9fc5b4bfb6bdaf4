"""How every test output moves when a training sample leaves, from features and a residual."""

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from infotorch.errors import ConfigError, check_choice
from infotorch.measures.information import check_options, refuse_unreliable, relative_error
from infotorch.measures.kernel_input import Array
from infotorch.measures.leave_out import Removal, leave_out, sets_of_tile
from infotorch.measures.primal.feature_input import FeatureInput, feature_input
from infotorch.measures.schedule import Numbers, Schedule, schedule

__all__ = ["Kind", "attribution_bytes", "attribution_from_features", "change_of_tests", "check_kind"]

WHERE = "attribution"
Kind = Literal["leave_one_out", "influence"]


@torch.no_grad()
def attribution_from_features(
    features: Array,
    residual: Array,
    features_test: Array,
    *,
    kind: Kind = "leave_one_out",
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    nodes: int = 40,
) -> Tensor:
    r"""Change of every test output when a training sample leaves and training runs again, without minus with.

    Let :math:`A = \Phi^\top \Phi + \text{ridge}\,I`, :math:`e_i` the residual after training and
    :math:`H_i = \phi_i A^{-1} \phi_i^\top`. At convergence, with one ridge for both trainings,

    .. math::
        \text{leave\_one\_out} &= -\phi_{test} A^{-1} \phi_i^\top (I - H_i)^{-1} e_i \\
        \text{influence} &= -\phi_{test} A^{-1} \phi_i^\top e_i.

    The first is exact. The second is minus the derivative in a weight on the sample's loss. At a finite time both are
    sums of such terms over complex ridges, and few steps of descent are taken one by one. Where ridge, time or lr are
    others without the sample, their change counts in full in both kinds.

    TRAK's score (Park et al., arXiv 2303.14186, section 3) is minus the influence for these features, with their loss's
    derivative in place of :math:`e_i` and ridge 0.

    Args:
        features: [N, C, k], float32 or float64, or [N, k] where all outputs share them; taken as exact.
        residual: y - f0, [N, C].
        features_test: [M, C, k], or [M, k].
        kind: ``"leave_one_out"`` or ``"influence"``.
        ridge: As the others, of the training with the sample and without, those of
            :func:`unique_information_from_features`; but there is one time.
        ridge_without: Of the training without the sample.
        time: Of gradient flow; default: inf.
        time_without: Of the training without the sample.
        lr: Step size of gradient descent on the summed loss, with ``steps``.
        lr_without: Of the training without the sample.
        steps: Number of steps.
        nodes: Of the contour, even, 16 to 64.

    Returns:
        [N, M, C] in the outputs' unit, float64, of 8 N M C bytes; up to three times that while it is made.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, or a dtype is not a float.
        ConfigError: An option is out of range, or there are several times.
        NumericsError: As for :func:`unique_information_from_features`.

    Example:
        >>> features = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]], dtype=torch.float64)
        >>> residual = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        >>> attribution_from_features(features, residual, features[1:], ridge=1.0)[:, 0, 0]
        tensor([-0.2000,  0.1333], dtype=torch.float64)
    """
    check_kind(kind)
    data = feature_input(WHERE, features, residual, features_test, each_test=True)
    plan = schedule(
        ridge=ridge,
        ridge_without=ridge_without,
        time=time,
        time_without=time_without,
        lr=lr,
        lr_without=lr_without,
        steps=steps,
    )
    return change_of_tests(data, plan, kind=kind, nodes=nodes)


def check_kind(kind: str) -> None:
    """Raise ConfigError for one that is not known."""
    check_choice(WHERE, "kind", kind, get_args(Kind))


@torch.no_grad()
def change_of_tests(data: FeatureInput, plan: Schedule, *, kind: Kind, nodes: int = 40) -> Tensor:
    """What :func:`attribution_from_features` returns, of checked features and trainings."""
    check_options(1.0, nodes, "raise")
    if len(plan.full) != 1:
        raise ConfigError(f"{WHERE}: there must be one time; got {len(plan.full)}. Call once for each.")
    N, C = data.residual.shape
    problem = replace(data.problem(), first_order=kind == "influence")
    rows = torch.arange(len(data.features), device=data.residual.device).view(N, -1)
    alone = Removal(rows=rows, full=plan.full, without=plan.for_set(0))
    left = leave_out(problem, [alone], nodes=nodes, return_changes=True)
    refuse_unreliable(relative_error(left), "sample", otherwise="")
    assert left.change_test is not None
    return left.change_test[0].reshape(N, data.num_test, C)


def attribution_bytes(N: int, M: int, C: int, k: int, rows_per_sample: int) -> int:
    """Of the result, and of a tile of it, and the tile's squares, on the way there."""
    tile = sets_of_tile(8 * k * (rows_per_sample + 2 * C // rows_per_sample))
    return 8 * M * C * (N + 2 * min(N, tile))
