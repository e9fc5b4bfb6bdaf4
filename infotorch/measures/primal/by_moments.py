r"""Leave-out at any times from the eigendecomposition of the features' second moment.

With :math:`A = \Phi^\top \Phi`, :math:`b = \Phi^\top r` and a shift p, the solution without the rows g is
:math:`D b - D \Phi_g^\top \gamma` with :math:`D = (A + p)^{-1}` and
:math:`\gamma = (I - \Phi_g D \Phi_g^\top)^{-1} (r_g - \Phi_g D b)`; a training is a sum of such solutions over shifts
(linalg/contour.py). Everything below is in the eigenbasis of A.

Rows that count w times have A and b less (1 - w) times their share. The derivative of the solution in w, at w = 1, is
:math:`D \Phi_g^\top (r_g - \Phi_g D b)`: what leaving out subtracts, to first order, is the same with the identity in
place of the block's inverse.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.linalg.eigen import Eigen, eigh
from infotorch.linalg.resolvent import Removed, leave_rows_out
from infotorch.measures.by_eigen import WIDEST_SHARE
from infotorch.measures.schedule import WHERE
from infotorch.measures.solver import Change, linear
from infotorch.measures.spectrum import EPS
from infotorch.measures.training import Training


class ByMoments:
    """Every training is a function of the moment's eigenvalues; leaving out is a small solve a shift."""

    def __init__(
        self,
        eigen: Eigen,
        cross: Tensor,
        features: Tensor,
        residual: Tensor,
        nodes: int,
        *,
        first_order: bool = False,
    ) -> None:
        """Eigenvalues must be >= 0, with exact zeros for the null space; cross [k, V], features [m, k]."""
        self.eigen, self.features, self.residual, self.nodes = eigen, features, residual, nodes
        self.first_order = first_order
        self.rotated = eigen.vectors @ cross  # [k, V]

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        n, b = rows.shape
        values = self.eigen.values
        psi = rotated_rows(self.eigen, self.features, rows)  # [n, b, k]
        r = self.residual[rows]  # [n, b, V]
        wide = n == 1 and b > WIDEST_SHARE * len(values) and not self.first_order
        retrained = self._retrained(psi[0].mT, r[0], without) if wide else None
        for place, (with_all, training) in enumerate(zip(full, without, strict=True)):
            base = training.gain(values)[:, None] * self.rotated  # [k, V]
            if retrained is not None:
                solution, error = retrained[place]
                removed = (base - solution)[:, None]
                removed_own = (psi[0] @ removed[:, 0])[None]
            else:
                removed, removed_own, error = self._removed(psi, r, training)
            if with_all == training:
                delta = -removed  # exactly: no difference of two large solutions
            else:
                delta = (base - with_all.gain(values)[:, None] * self.rotated)[:, None] - removed
            delta[values == 0] = 0  # no sample has a share in such a direction
            own = psi @ base - removed_own
            yield place, Change(delta=delta, squared=self.squared(delta), own=own, error=error)

    def _removed(self, psi: Tensor, r: Tensor, training: Training) -> tuple[Tensor, Tensor, Tensor]:
        """What leaving out takes away, of the rotated solution [k, n, V] and of the rows' predictions [n, b, V].

        The estimated relative error of the first, [n], comes third.
        """
        n, _, k = psi.shape
        if training.duration == 0:
            return psi.new_zeros(k, n, r.shape[-1]), torch.zeros_like(r), psi.new_zeros(n)
        shifts = training.shifts(self.nodes)
        p, q = shifts.p.to(psi.device), shifts.q.to(psi.device)
        D = 1 / (self.eigen.values[:, None] + p)  # [k, S]
        power = D.abs().square() * (self.eigen.values > 0)[:, None]  # [k, S]
        found = leave_rows_out(psi, D, q, self.rotated, power, r, first_order=self.first_order)
        return found.solution, found.own, found.relative_error(q, self._amplification(power, found))

    def _amplification(self, power: Tensor, found: Removed) -> Tensor:
        r"""By how much a relative error of the moments can grow in what is removed, [n, S].

        To first order an error E of A, at most eps times its largest eigenvalue, moves D by -D E D: in the block and in
        the solution at the rows, whose sum is divided by the pivot, and in the way back. Directions whose eigenvalue is
        set to 0 have no share in any row. One minus the block loses what both have in common.
        """
        largest = self.eigen.values[-1]
        W = found.spans.sqrt()  # [n, S]
        x = (self.rotated.square().sum(-1) @ power).sqrt()  # [S]
        growth = largest * W * x / found.norm.where(found.norm > 0, torch.inf) + 1
        if not self.first_order:
            growth = growth + largest * W * W
        return growth / found.pivot + largest * power.amax(0).sqrt()

    def _retrained(self, psi: Tensor, r: Tensor, without: Sequence[Training]) -> list[tuple[Tensor, Tensor]]:
        """A set of more rows than blocks pay for: solutions [k, V] of the others' moments, and estimated errors [1]."""
        second = torch.diag(self.eigen.values) - psi @ psi.mT
        found = eigh((second + second.mT) / 2, overwrite=True)
        rounding = len(second) * EPS * self.eigen.values[-1]  # of what was subtracted, however little is left
        inner = Eigen(values=found.values.where(found.values > rounding, 0), vectors=found.vectors)
        if any(t.converges and t.ridge == 0 for t in without) and not inner.values[0] > 0:
            raise NumericsError(
                f"{WHERE}: with ridge 0 at t=inf those who stay must span all directions of the features; got rank "
                f"{int((inner.values > 0).sum())} of {len(second)} without a group of {psi.shape[1]} rows. Give ridge "
                "> 0 or a finite time."
            )
        cross = inner.vectors @ (self.rotated - psi @ r)
        answers = []
        for training in without:
            gains = training.gain(inner.values)
            growth = (self.eigen.values[-1] + training.ridge) * gains.where(inner.values > 0, 0).max()
            answers.append((inner.vectors.mT @ (gains[:, None] * cross), 2 * EPS * growth[None]))
        return answers

    def trained(self, training: Training) -> Tensor:
        return self.eigen.vectors.mT @ (training.gain(self.eigen.values)[:, None] * self.rotated)

    def squared(self, delta: Tensor) -> Tensor:
        return delta.square().sum((0, 2))

    def outputs(self, test_rows: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        return linear(rotated_tests(self.eigen, test_rows))


def rotated_rows(eigen: Eigen, features: Tensor, rows: Tensor) -> Tensor:
    """Features of ``rows`` [n, b] in the eigenbasis, [n, b, k]."""
    chosen = features.index_select(0, rows.flatten()).to(torch.float64)
    return (chosen @ eigen.vectors.mT).view(*rows.shape, -1)


def rotated_tests(eigen: Eigen, test_rows: Tensor) -> Tensor:
    """Test rows [t, k] in the eigenbasis, float64."""
    return test_rows.to(torch.float64) @ eigen.vectors.mT
