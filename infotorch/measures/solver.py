"""What every way of leaving samples out hands over.

Letters: m rows of the kernel; n sets of b rows each, left out one set at a time; V right-hand sides; t test rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from infotorch.measures.training import Training


@dataclass(frozen=True, kw_only=True)
class Change:
    """What leaving out each of n sets does to one training."""

    delta: Tensor
    """Coefficients without minus with, [m, n, V], in the solver's own coordinates."""
    squared: Tensor
    """Squared change of the weights, summed over V, [n]."""
    own: Tensor
    """Predictions J_g d_without of the rows left out, initial outputs not added, [n, b, V]."""
    error: Tensor
    """Estimated relative error of ``squared``, [n]."""


class Solver(Protocol):
    """Leave-out of row sets from trainings on one kernel and residual."""

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        """For each pair of trainings its place and the change from leaving out each set of ``rows`` [n, b]."""

    def trained(self, training: Training) -> Tensor:
        """Coefficients beta [m, V] of the training on all rows, in sample coordinates."""

    def squared(self, delta: Tensor) -> Tensor:
        """Squared change of the weights, summed over V, [n], of ``delta`` [m, n, V]."""

    def outputs(self, test_kernel: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        """The map from ``delta`` to the change of test outputs, [t, n, V]; ``num_columns`` n V will pass in all."""


def linear(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """Multiplication of [m, n, V] by a [t, m] matrix."""
    return lambda delta: (matrix @ delta.flatten(1)).view(len(matrix), *delta.shape[1:])
