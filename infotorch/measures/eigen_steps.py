"""Leave-out of gradient descent by taking the steps in an eigenbasis, for all sets at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from infotorch.linalg.eigen import Eigen
from infotorch.measures.solver import Change, linear
from infotorch.measures.training import Training

__all__ = ["EigenSteps", "KernelSteps"]


class EigenSteps(ABC):
    """A step is d + lr (Phi^T (r - Phi d) - ridge d) over the rows that are left, in the eigenbasis of Phi^T Phi.

    There the sum over all rows is a product with the eigenvalues, from which each set's own rows are taken: 4 k b n V
    flops a step for n sets of b rows. To first order in the rows' weight, their own share is that at the training with
    them.
    """

    values: Tensor
    """Eigenvalues, [k]."""
    rotated: Tensor
    """Phi^T r, [k, V]."""
    residual: Tensor
    """[m, V]."""
    first_order: bool = False
    """Whether the rows' own share of a step is taken at the training with them."""

    @abstractmethod
    def _rows(self, rows: Tensor) -> Tensor:
        """Phi of ``rows`` [n, b], [n, b, k]."""

    @abstractmethod
    def outputs(self, test_rows: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        """As of a Solver."""

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        psi = self._rows(rows)
        r = self.residual[rows]  # [n, b, V]
        d = self.rotated.new_zeros(len(rows), *self.rotated.shape)  # [n, k, V]
        d_full = self.rotated.new_zeros(1, *self.rotated.shape)
        d_kept = d_full  # nobody left out, under the options of the training without
        taken = 0
        for place in sorted(range(len(full)), key=lambda place: full[place].duration):
            while taken < full[place].duration:
                at = d_kept if self.first_order else d
                d = self._step(d, without[place], psi.mT @ (psi @ at - r))
                d_kept = self._step(d_kept, without[place], 0) if self.first_order else d_kept
                d_full = self._step(d_full, full[place], 0)
                taken += 1
            delta = (d - d_full).permute(1, 0, 2)  # [k, n, V]
            squared = self.squared(delta)
            yield place, Change(delta=delta, squared=squared, own=psi @ d, error=torch.zeros_like(squared))

    def _step(self, d: Tensor, training: Training, of_rows: Tensor | float) -> Tensor:
        assert training.lr is not None
        gradient = (self.values[:, None] + training.ridge) * d - self.rotated - of_rows
        return d - training.lr * gradient

    def _trained(self, training: Training) -> Tensor:
        d = torch.zeros_like(self.rotated)[None]
        for _ in range(int(training.duration)):
            d = self._step(d, training, 0)
        return d[0]

    def squared(self, delta: Tensor) -> Tensor:
        return delta.square().sum((0, 2))


class KernelSteps(EigenSteps):
    r"""On a kernel :math:`K = Q S Q^\top`, whose rows have the features :math:`Q S^{1/2}`."""

    def __init__(self, eigen: Eigen, residual: Tensor) -> None:
        """Eigenvalues must be >= 0, with exact zeros for the null space; residual [m, V]."""
        self.eigen, self.values, self.residual = eigen, eigen.values, residual
        self.root = eigen.values.sqrt()
        self.inverse_root = torch.where(self.root > 0, 1 / self.root, 0)
        self.rotated = self.root[:, None] * (eigen.vectors @ residual)

    def _rows(self, rows: Tensor) -> Tensor:
        n, b = rows.shape
        columns = self.eigen.vectors.index_select(1, rows.mT.reshape(-1)) * self.root[:, None]
        return columns.view(len(self.values), b, n).permute(2, 1, 0)

    def trained(self, training: Training) -> Tensor:
        return self.eigen.vectors.mT @ (self.inverse_root[:, None] * self._trained(training))

    def outputs(self, test_rows: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        return linear((test_rows @ self.eigen.vectors.mT) * self.inverse_root)
