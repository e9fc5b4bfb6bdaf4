"""Smooth unique information of samples and groups, from features and a residual."""

from typing import Literal

import torch

from infotorch.measures.information import UniqueInformationResult, information, members
from infotorch.measures.kernel_input import Array
from infotorch.measures.primal.feature_input import feature_input
from infotorch.measures.schedule import WHERE, Numbers, schedule


@torch.no_grad()
def unique_information_from_features(
    features: Array,
    residual: Array,
    features_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    groups: Array | None = None,
    removed: Array | None = None,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
) -> UniqueInformationResult:
    r"""What :func:`unique_information_from_kernel` computes, from features with :math:`K = \Phi \Phi^\top`.

    For these features nothing is approximated. Where they are sketches of Jacobian rows (:func:`infotorch.sketch` with
    ``seeds="logits"``), the scores are those of the sketched kernel. Time grows linearly in N, memory not at all beyond
    the features: with k features, C outputs and S = nodes / 2 contour points, a sample takes about
    :math:`4 C k^2 + 5 C^2 k S` flops, and all together one eigendecomposition of size k.

    Args:
        features: [N, C, k], float32 or float64, or [N, k] where all outputs share them; taken as exact. An array that
            is mapped from a file is read some samples at a time.
        residual: y - f0, [N, C].
        features_test: [M, C, k], or [M, k].
        ridge: Weight of half the squared distance from the initial weights, as are the others in
            :func:`unique_information_from_kernel`. At time inf without ridge, samples must span all k directions.
        ridge_without: Of the training without the sample, or one a group [G].
        time: Gradient-flow times, one or several; default: inf.
        time_without: Of the training without the sample.
        lr: Step size of gradient descent on the summed loss, with ``steps``.
        lr_without: Of the training without the sample.
        steps: Numbers of steps, one or several.
        sigma: Standard deviation of the noise that smooths the weights or outputs.
        groups: bool [G, N]: who leaves together.
        removed: bool [N]: samples already gone.
        nodes: Of the contour, even, 16 to 64.
        return_changes: Whether to return ``change_test``, [times, N or G, M, C] numbers.
        on_unreliable: ``"raise"`` or ``"flag"``, for estimated relative errors beyond 1e-6.

    Returns:
        Scores in nats with a leading time axis, also for one time.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, a dtype is not a float, or nobody would be left.
        ConfigError: An option is out of range.
        NumericsError: The features have more directions than the samples span, where time is inf and ridge 0; gradient
            descent diverges; a score is unreliable.

    Source: Harutyunyan et al., arXiv 2101.06640, eqs. 5, 7 and 8; the primal form and its leave-out are ours.

    Example:
        >>> features = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]], dtype=torch.float64)
        >>> residual = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        >>> unique_information_from_features(features, residual, ridge=1.0).weights
        tensor([[0.1000, 0.0111]], dtype=torch.float64)
    """
    data = feature_input(WHERE, features, residual, features_test, each_test=return_changes)
    who = members(len(data.residual), groups, removed)
    plan = schedule(
        ridge=ridge,
        ridge_without=ridge_without,
        time=time,
        time_without=time_without,
        lr=lr,
        lr_without=lr_without,
        steps=steps,
        num_groups=who.num_groups,
    )
    return information(
        data, who, plan, sigma=sigma, nodes=nodes, return_changes=return_changes, on_unreliable=on_unreliable
    )
