"""The least-squares problem in its primal form: features of samples, and their moments."""

from dataclasses import dataclass

from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.measures.primal.by_moments import ByMoments
from infotorch.measures.primal.by_steps import FeatureSteps
from infotorch.measures.primal.moments import Moments
from infotorch.measures.schedule import WHERE
from infotorch.measures.solver import Solver
from infotorch.measures.training import Training


@dataclass(frozen=True, kw_only=True)
class FeatureProblem:
    """A linearized network by features of its samples, one coefficient a feature.

    The samples at hand may be some of those that ``moments`` sums up: what leaving one of them out changes follows
    from its own features and the moments alone.
    """

    features: Tensor
    """Of the samples at hand, [m, k]."""
    residual: Tensor
    """y - f0, [m, V], float64: V right-hand sides share the features."""
    moments: Moments
    """Of all samples on which the network is trained."""
    test_rows: Tensor | None = None
    """Features of test samples [t, k], or any rows with the same second moment."""
    num_test: int = 0
    """M, over which functional information is averaged."""
    first_order: bool = False
    """Rows leave to first order in their weight: minus the derivative of training in it, in place of the change."""

    @property
    def num_samples(self) -> int:
        return self.moments.num_samples

    @property
    def num_coefficients(self) -> int:
        return len(self.moments.second)

    def largest(self) -> float:
        return float(self.moments.eigen.values[-1])

    def stepper(self, num_steps: float) -> Solver:
        eigen, cross = self.moments.eigen, self.moments.cross
        return FeatureSteps(eigen, cross, self.features, self.residual, first_order=self.first_order)

    def solver(self, pairs: set[tuple[Training, Training]], nodes: int) -> Solver:
        unbound = [t for pair in pairs for t in pair if t.converges and t.ridge == 0]
        rank, k = int((self.moments.eigen.values > 0).sum()), self.num_coefficients
        if unbound and rank < k:
            raise NumericsError(
                f"{WHERE}: with ridge 0 at t=inf the training samples must span all directions of the features; got "
                f"rank {rank} of {k}. Give ridge > 0, a finite time, or at most {rank} features."
            )
        eigen, cross = self.moments.eigen, self.moments.cross
        return ByMoments(eigen, cross, self.features, self.residual, nodes, first_order=self.first_order)
