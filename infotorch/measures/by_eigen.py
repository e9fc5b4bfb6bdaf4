"""Leave-out at any times from one eigendecomposition."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from infotorch.linalg.eigen import Eigen
from infotorch.linalg.resolvent import Removed, leave_rows_out
from infotorch.measures.solver import Change, linear
from infotorch.measures.spectrum import EPS, spectrum
from infotorch.measures.training import Training

# A set of more rows than this share of m: training on the kept rows from scratch costs less (flops, nodes = 40).
WIDEST_SHARE = 1 / 3


class ByEigen:
    """Every training is a function of the kernel's eigenvalues; leaving out is a small solve a shift."""

    def __init__(self, eigen: Eigen, residual: Tensor, nodes: int) -> None:
        """Eigenvalues must be >= 0, with exact zeros for the null space; residual [m, V]."""
        self.eigen = eigen
        self.residual = residual
        self.rotated = eigen.vectors @ residual  # [m, V]
        self.nodes = nodes

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        n, b = rows.shape
        values, vectors = self.eigen.values, self.eigen.vectors
        wide = n == 1 and b > WIDEST_SHARE * len(values)
        if wide:
            retrained = self._retrained(rows[0], without)
        Q = vectors.index_select(1, rows.mT.reshape(-1)).view(-1, b, n).permute(2, 1, 0)  # [n, b, m]
        for place, (with_all, training) in enumerate(zip(full, without, strict=True)):
            base = training.gain(values)[:, None] * self.rotated  # [m, V]
            if wide:
                left_out, error = retrained[place]
                removed = base[:, None] - left_out
            else:
                removed, error = self._removed(Q, training)
            if with_all == training:
                delta = -removed  # exactly: no difference of two large solutions
            else:
                delta = (base - with_all.gain(values)[:, None] * self.rotated)[:, None] - removed
            delta[values == 0] = 0  # K q = 0 means J.T q = 0: it grows with time but moves neither weights nor outputs
            prediction = values[:, None, None] * (base[:, None] - removed)  # [m, n, V]
            own = torch.stack([(row.mT[..., None] * prediction).sum(0) for row in Q.unbind(1)], dim=1)
            yield place, Change(delta=delta, squared=self.squared(delta), own=own, error=error)

    def _removed(self, Q: Tensor, training: Training) -> tuple[Tensor, Tensor]:
        """What leaving out subtracts from the rotated solution, [m, n, V], and its estimated relative error, [n]."""
        n, _, m = Q.shape
        if training.duration == 0:
            return Q.new_zeros(m, n, self.rotated.shape[1]), Q.new_zeros(n)
        shifts = training.shifts(self.nodes)
        p, q = shifts.p.to(Q.device), shifts.q.to(Q.device)
        D = 1 / (self.eigen.values[:, None] + p)  # [m, S]
        power = D.abs().square()  # [m, S]
        on_range = power * (self.eigen.values > 0)[:, None]
        found = leave_rows_out(Q, D, q, self.rotated, torch.cat([on_range, power], 1))
        return found.solution, found.relative_error(q, self._amplification(on_range, power, found))

    def _amplification(self, on_range: Tensor, power: Tensor, found: Removed) -> Tensor:
        r"""By how much a relative error of K can grow in gamma, [n, S].

        To first order a symmetric error E of K moves G by -G E G. Directions that K maps to exactly 0 stay there
        (their eigenvalues are set to 0), so one of the two factors is the resolvent R on the range:
        :math:`\|E\| (\|R_g\| \|G_g\| \|\gamma\| + \|R_g\| \|x\| + \|G_g\| \|x_R\|) / \min |\text{pivot}|`.
        """
        R, G = found.spans.sqrt().chunk(2, dim=1)  # [n, S]
        signal = self.rotated.square().sum(-1)  # [m]
        x_range, x = (signal @ on_range).sqrt(), (signal @ power).sqrt()  # [S]
        growth = R * G * found.norm + R * x + G * x_range
        return self.eigen.values[-1] * growth / (found.pivot * found.norm.where(found.norm > 0, torch.inf))

    def _retrained(self, rows: Tensor, without: Sequence[Training]) -> list[tuple[Tensor, Tensor]]:
        """Rotated solutions [m, 1, V] of training on all other rows, and their estimated relative errors [1]."""
        values, vectors = self.eigen.values, self.eigen.vectors
        stays = torch.ones(len(values), dtype=torch.bool, device=values.device)
        stays[rows] = False
        kept = vectors[:, stays]  # [m, k]
        inner = spectrum("unique_information", (kept.mT * values) @ kept, input_eps=EPS, overwrite=True)
        inner_rotated = inner.vectors @ self.residual[stays]
        answers = []
        for training in without:
            gains = training.gain(inner.values)
            beta = inner.vectors.mT @ (gains[:, None] * inner_rotated)
            growth = (inner.values[-1] + training.ridge) * gains.where(inner.values > 0, 0).max()
            answers.append(((kept @ beta)[:, None], 2 * EPS * growth[None]))
        return answers

    def trained(self, training: Training) -> Tensor:
        return self.eigen.vectors.mT @ (training.gain(self.eigen.values)[:, None] * self.rotated)

    def squared(self, delta: Tensor) -> Tensor:
        return self.eigen.values @ delta.square().sum(-1)

    def outputs(self, test_kernel: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        to_samples = linear(self.eigen.vectors.mT)
        if num_columns < test_kernel.shape[0]:
            to_tests = linear(test_kernel)
            return lambda delta: to_tests(to_samples(delta))
        return linear(test_kernel @ self.eigen.vectors.mT)
