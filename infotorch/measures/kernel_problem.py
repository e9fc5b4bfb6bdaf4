"""The least-squares problem in its dual form: inner products of Jacobian rows, no parameters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.linalg.eigen import extreme_eigenvalues
from infotorch.measures.by_eigen import ByEigen
from infotorch.measures.by_inverse import ByInverse, SingularKernelError
from infotorch.measures.by_steps import BySteps
from infotorch.measures.eigen_steps import KernelSteps
from infotorch.measures.schedule import WHERE
from infotorch.measures.solver import Solver
from infotorch.measures.spectrum import not_definite, refuse_indefinite, spectrum
from infotorch.measures.training import Training

# For one row a sample: a step takes 2 m^3 flops for all sets, eigenvectors about 10 m^3.
MOST_STEPS_BY_KERNEL = 16


@dataclass(frozen=True, kw_only=True)
class KernelProblem:
    """A linearized network by the kernel of its training samples; one coefficient a row."""

    kernel: Tensor
    """K [m, m], float64."""
    residual: Tensor
    """y - f0, [m, V]: V right-hand sides share the kernel."""
    num_samples: int
    """N, whose rows these are."""
    test_rows: Tensor | None = None
    """K_test [t, m]."""
    num_test: int = 0
    """M, over which functional information is averaged."""
    input_eps: float = torch.finfo(torch.float64).eps
    """Rounding of the dtype that the kernel came in."""
    overwrite: bool = False
    """Whether the eigenvectors may take the kernel's memory."""

    @property
    def num_coefficients(self) -> int:
        return len(self.kernel)

    def largest(self) -> float:
        return extreme_eigenvalues(self.kernel)[1]

    def stepper(self, num_steps: float) -> Solver:
        """Steps with the kernel as long as they cost less than the eigenvectors in whose basis a step is cheap."""
        if num_steps > MOST_STEPS_BY_KERNEL:
            return KernelSteps(spectrum(WHERE, self.kernel, input_eps=self.input_eps), self.residual)
        refuse_indefinite(WHERE, self.kernel, self.input_eps)
        return BySteps(self.kernel, self.residual)

    def solver(self, pairs: set[tuple[Training, Training]], nodes: int) -> Solver:
        """One inverse where every training converges; otherwise eigenvectors."""
        ridges = {without.ridge for _, without in pairs}
        limit_ridge = min((t.ridge for pair in pairs for t in pair if t.converges), default=None)
        if len(ridges) == 1 and all(a.converges and b.converges for a, b in pairs):
            assert limit_ridge is not None
            if limit_ridge > 0:  # at 0, the inverse itself finds a negative eigenvalue
                refuse_indefinite(WHERE, self.kernel, self.input_eps)
            try:
                return ByInverse(self.kernel, self.residual, ridges.pop(), {full.ridge for full, _ in pairs})
            except SingularKernelError:
                raise not_definite(WHERE, self.kernel, self.input_eps, limit_ridge) from None
        eigen = spectrum(
            WHERE, self.kernel, input_eps=self.input_eps, limit_ridge=limit_ridge, overwrite=self.overwrite
        )
        return ByEigen(eigen, self.residual, nodes)
