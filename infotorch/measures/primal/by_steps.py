"""Leave-out of gradient descent on features, by its steps."""

from collections.abc import Callable

from torch import Tensor

from infotorch.linalg.eigen import Eigen
from infotorch.measures.eigen_steps import EigenSteps
from infotorch.measures.primal.by_moments import rotated_rows, rotated_tests
from infotorch.measures.solver import linear
from infotorch.measures.training import Training

__all__ = ["FeatureSteps"]


class FeatureSteps(EigenSteps):
    """On features [m, k] with the moments of all rows."""

    def __init__(
        self, eigen: Eigen, cross: Tensor, features: Tensor, residual: Tensor, *, first_order: bool = False
    ) -> None:
        self.eigen, self.features, self.residual, self.first_order = eigen, features, residual, first_order
        self.values, self.rotated = eigen.values, eigen.vectors @ cross

    def _rows(self, rows: Tensor) -> Tensor:
        return rotated_rows(self.eigen, self.features, rows)

    def trained(self, training: Training) -> Tensor:
        return self.eigen.vectors.mT @ self._trained(training)

    def outputs(self, test_rows: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        return linear(rotated_tests(self.eigen, test_rows))
