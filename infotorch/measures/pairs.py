"""What two samples tell together, beyond what each tells alone."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from infotorch.errors import DataError, ShapeError
from infotorch.measures.information import (
    RTOL,
    check_options,
    refuse_unreliable,
    relative_error,
)
from infotorch.measures.kernel_input import Array, as_tensor, kernel_input
from infotorch.measures.leave_out import Removal, leave_out
from infotorch.measures.schedule import WHERE, Numbers, schedule


@dataclass(frozen=True, kw_only=True)
class PairInformation:
    """Information of pairs in nats with a leading time axis, float64."""

    weights: Tensor
    """Information of both together in the weights, [times, Q]."""
    functions: Tensor | None
    """In the outputs on the test samples, [times, Q]; None without a test kernel."""
    weights_interaction: Tensor
    """``weights`` minus that of each alone, [times, Q]: positive where one stands in for the other, either sign."""
    functions_interaction: Tensor | None
    """The same in the outputs, [times, Q]."""
    reliable: Tensor
    """Whether the estimated relative error of the pair's and both samples' information is at most 1e-6, bool [Q].

    Rounding that K came with is not counted; see :class:`UniqueInformationResult`.
    """


@torch.no_grad()
def pair_interactions(
    K: Array,
    residual: Array,
    pairs: Array,
    K_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    ridge_without_pair: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    time_without_pair: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    lr_without_pair: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    nodes: int = 40,
    on_unreliable: Literal["raise", "flag"] = "raise",
) -> PairInformation:
    r"""Information of pairs and its interaction :math:`I_{ij} = SI_{ij} - SI_i - SI_j`.

    Two copies of a sample have :math:`SI_i \approx SI_j \approx 0` and :math:`SI_{ij} > 0`: the interaction finds
    redundancy that scores of single samples hide.

    ``reliable`` counts float64 rounding of the solve, not the rounding that K came with: a kernel of relative accuracy
    e multiplies the estimated error by about e / 2.2e-16.

    Args:
        K: Kernel of the Jacobian, [N C, N C], rows by sample, then by output.
        residual: y - f0, [N, C].
        pairs: Two different samples each, integers [Q, 2].
        K_test: [M C, N C].
        ridge: As in :func:`unique_information_from_kernel`, also the following.
        ridge_without: Of the training without one sample.
        ridge_without_pair: Of the training without both; default: ``ridge_without``.
        time: Gradient-flow times.
        time_without: Of the training without one sample.
        time_without_pair: Of the training without both; default: ``time_without``.
        lr: Step size of gradient descent.
        lr_without: Of the training without one sample.
        lr_without_pair: Of the training without both; default: ``lr_without``.
        steps: Numbers of steps.
        sigma: Scale of the noise.
        nodes: Of the contour.
        on_unreliable: ``"raise"`` or ``"flag"``.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A pair names one sample twice, or nobody else is there.
        ConfigError: An option is out of range.
        NumericsError: As in :func:`unique_information_from_kernel`.
    """
    check_options(sigma, nodes, on_unreliable)
    data = kernel_input(WHERE, K, residual, K_test)
    N, C = data.residual.shape
    both = _checked(pairs, N).to(data.kernel.device)
    alone, member = both.unique(return_inverse=True)  # [S], [Q, 2]

    def removal(samples: Tensor, ridge_: Numbers | None, time_: Numbers | None, lr_: Numbers | None) -> Removal:
        plan = schedule(
            ridge=ridge, ridge_without=ridge_, time=time, time_without=time_, lr=lr, lr_without=lr_, steps=steps
        )
        rows = samples[:, :, None] * C + torch.arange(C, device=samples.device)
        return Removal(rows=rows.flatten(1), full=plan.full, without=plan.for_set(0))

    left = leave_out(
        data.problem(),
        [
            removal(alone[:, None], ridge_without, time_without, lr_without),
            removal(
                both,
                ridge_without if ridge_without_pair is None else ridge_without_pair,
                time_without if time_without_pair is None else time_without_pair,
                lr_without if lr_without_pair is None else lr_without_pair,
            ),
        ],
        nodes=nodes,
    )
    S = len(alone)

    def split(squared: Tensor) -> tuple[Tensor, Tensor]:
        scores = squared / (2 * sigma**2)
        return scores[:, S:], scores[:, S:] - scores[:, :S][:, member].sum(-1)

    error = relative_error(left)
    of_pair = torch.maximum(error[S:], error[:S][member].amax(-1))
    if on_unreliable == "raise":
        refuse_unreliable(of_pair, "pair")
    weights, weights_interaction = split(left.weights)
    functions, functions_interaction = (None, None) if left.functions is None else split(left.functions)
    return PairInformation(
        weights=weights,
        functions=functions,
        weights_interaction=weights_interaction,
        functions_interaction=functions_interaction,
        reliable=of_pair <= RTOL,
    )


def _checked(pairs: Array, N: int) -> Tensor:
    both, _ = as_tensor(WHERE, "pairs", pairs)
    if both.ndim != 2 or both.shape[1] != 2 or len(both) == 0 or both.is_floating_point() or both.dtype == torch.bool:
        raise ShapeError(
            f"{WHERE}: pairs must be integers [Q, 2]; got {str(both.dtype).removeprefix('torch.')} {list(both.shape)}. "
            "Give two sample numbers a row."
        )
    if N < 3:
        raise DataError(f"{WHERE}: a pair must leave at least one sample; got {N} samples. Give more samples.")
    wrong = (both < 0) | (both >= N)
    if wrong.any() or (both[:, 0] == both[:, 1]).any():
        first = int((wrong.any(1) | (both[:, 0] == both[:, 1])).nonzero()[0])
        raise DataError(
            f"{WHERE}: a pair must be two different samples from 0 to {N - 1}; "
            f"got {both[first].tolist()} in pair {first}. Correct it."
        )
    return both.long()
