"""One linearized training: how long, by which rule, with which ridge."""

import math
from dataclasses import dataclass

from torch import Tensor

from infotorch.linalg.contour import Shifts, descent_shifts, flow_shifts, limit_shifts
from infotorch.linalg.gain import descent_gain, flow_gain

# Below this many steps the contour of gradient descent is less exact than 1e-12 (8e-11 at 4 steps, wrong at 2).
FEWEST_STEPS_BY_CONTOUR = 16


@dataclass(frozen=True, kw_only=True)
class Training:
    r"""Training from the initial weights on :math:`\frac12\|r - J d\|^2 + \frac{ridge}{2}\|d\|^2`."""

    ridge: float
    """Weight of the squared distance from the initial weights, on the summed loss."""
    duration: float
    """Time of gradient flow, or number of steps of gradient descent; inf: until convergence."""
    lr: float | None = None
    """Step size of gradient descent on the summed loss; None: gradient flow."""

    @property
    def converges(self) -> bool:
        return self.duration == math.inf

    def must_step(self, largest: float) -> bool:
        """Whether only literal stepping is exact, for a kernel of this largest eigenvalue."""
        if self.lr is None or self.converges or self.duration == 0:
            return False
        return self.duration < FEWEST_STEPS_BY_CONTOUR or self.lr * (largest + self.ridge) >= 1

    def gain(self, eigenvalues: Tensor) -> Tensor:
        """What training multiplies the rotated residual with, at each of the kernel's eigenvalues."""
        if self.lr is None:
            return flow_gain(eigenvalues + self.ridge, self.duration)
        return descent_gain(eigenvalues + self.ridge, self.lr, self.duration)

    def shifts(self, nodes: int) -> Shifts:
        """The same function as a sum of resolvents; the duration is positive."""
        if self.converges:
            return limit_shifts(self.ridge)
        if self.lr is None:
            return flow_shifts(self.duration, self.ridge, nodes)
        return descent_shifts(self.lr, self.duration, self.ridge, nodes)
