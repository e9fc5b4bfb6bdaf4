"""Leave-out of gradient descent on features by taking the steps, for all sets at once."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from infotorch.linalg.eigen import Eigen
from infotorch.measures.primal.by_moments import rotated_rows, rotated_tests
from infotorch.measures.solver import Change, linear
from infotorch.measures.training import Training


class ByDescent:
    """A step is d + lr (Phi^T (r - Phi d) - ridge d) over the rows that are left, in the moment's eigenbasis.

    There the sum over all rows is a product with the eigenvalues, from which each set's own rows are taken: 4 k b n V
    flops a step for n sets of b rows. To first order in the rows' weight, their own share is that at the training with
    them.
    """

    def __init__(
        self, eigen: Eigen, cross: Tensor, features: Tensor, residual: Tensor, *, first_order: bool = False
    ) -> None:
        self.eigen, self.features, self.residual, self.first_order = eigen, features, residual, first_order
        self.rotated = eigen.vectors @ cross  # [k, V]

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        psi = rotated_rows(self.eigen, self.features, rows).permute(2, 0, 1)  # [n, b, k]
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
        gradient = (self.eigen.values[:, None] + training.ridge) * d - self.rotated - of_rows
        return d - training.lr * gradient

    def trained(self, training: Training) -> Tensor:
        d = torch.zeros_like(self.rotated)[None]
        for _ in range(int(training.duration)):
            d = self._step(d, training, 0)
        return self.eigen.vectors.mT @ d[0]

    def squared(self, delta: Tensor) -> Tensor:
        return delta.square().sum((0, 2))

    def outputs(self, test_rows: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        return linear(rotated_tests(self.eigen, test_rows))
