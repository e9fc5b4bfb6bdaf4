"""Leave-out of trainings that ran to convergence, from one inverse: no eigenvectors."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from infotorch.linalg.eigen import extreme_eigenvalues
from infotorch.linalg.symmetric import inverse
from infotorch.measures.by_eigen import WIDEST_SHARE
from infotorch.measures.solver import Change, linear
from infotorch.measures.spectrum import EPS
from infotorch.measures.training import Training

# gamma' alpha - ridge |delta|^2 is a difference; below this share of its first term the product with K is used.
SMALLEST_DIFFERENCE = 1e-3


class SingularKernelError(ArithmeticError):
    """K + ridge I is not positive definite to rounding."""


class ByInverse:
    r"""B = (K + ridge I)^-1; leaving g out moves the solution by :math:`-B_{:g} B_{gg}^{-1} \alpha_g`."""

    def __init__(self, kernel: Tensor, residual: Tensor, ridge: float, full_ridges: Iterable[float] = ()) -> None:
        """Inverts for ``ridge``, that of the trainings without, and solves for ``full_ridges``, those with everyone.

        Raises:
            SingularKernelError: For one of them the matrix is singular to rounding.
        """
        self.solved: dict[float, Tensor] = {
            full: ByInverse(kernel, residual, full).alpha for full in full_ridges if full != ridge
        }
        self.kernel, self.residual, self.ridge = kernel, residual, ridge
        A = kernel.clone(memory_format=torch.contiguous_format)
        A.diagonal().add_(ridge)
        self.largest = extreme_eigenvalues(A)[1]
        B = inverse(A)
        noise = len(kernel) * EPS * self.largest
        if B is None or not 1 / (norm := extreme_eigenvalues(B)[1]) > noise:
            raise SingularKernelError
        self.B, self.norm = B, norm
        self.alpha: Tensor = B @ residual  # [m, V]
        self.solved[ridge] = self.alpha

    def changes(
        self, rows: Tensor, full: Sequence[Training], without: Sequence[Training]
    ) -> Iterator[tuple[int, Change]]:
        for place, (with_all, training) in enumerate(zip(full, without, strict=True)):
            assert training.ridge == self.ridge and training.converges and with_all.converges
            moved = None if with_all.ridge == training.ridge else self.alpha - self.trained(with_all)
            if len(rows) == 1 and rows.shape[1] > WIDEST_SHARE * len(self.B):
                change = self._retrained(rows[0], self.trained(with_all))
            else:
                change = self._left_out(rows, moved)
            yield place, change

    def _left_out(self, rows: Tensor, moved: Tensor | None) -> Change:
        n, b = rows.shape
        columns = self.B.index_select(1, rows.mT.reshape(-1)).view(-1, b, n)  # [m, b, n]
        block = self.B[rows[:, :, None], rows[:, None, :]]  # [n, b, b]
        alpha = self.alpha[rows]  # [n, b, V]
        gamma, pivot = solve_spd(block, alpha)
        delta = torch.zeros(len(self.B), n, alpha.shape[-1], dtype=self.B.dtype, device=self.B.device)
        for c in range(b):
            delta.addcmul_(columns[:, c, :, None], gamma[None, :, c], value=-1)
        if moved is not None:
            delta += moved[:, None]
            squared = self.squared(delta)
        else:
            first = (gamma * alpha).sum((1, 2))
            squared = first - self.ridge * delta.square().sum((0, 2)) if self.ridge else first
            vague = ~(squared > SMALLEST_DIFFERENCE * first)
            squared[vague] = self.squared(delta[:, vague])
        G = columns.square().sum((0, 1)).sqrt()  # [n]
        norm = gamma.square().sum((1, 2)).sqrt()
        growth = self.largest * (G * G * norm + 2 * G * self.alpha.norm()) / (pivot * norm.where(norm > 0, torch.inf))
        error = 2 * EPS * growth
        return Change(delta=delta, squared=squared, own=self.residual[rows] - gamma, error=error)

    def _retrained(self, rows: Tensor, full: Tensor) -> Change:
        """A wide set: the solution on the kept rows, from their own Cholesky factor."""
        stays = torch.ones(len(self.B), dtype=torch.bool, device=self.B.device)
        stays[rows] = False
        kept = self.kernel[stays][:, stays]
        kept.diagonal().add_(self.ridge)
        beta = torch.zeros_like(full)
        beta[stays] = torch.cholesky_solve(self.residual[stays], torch.linalg.cholesky(kept))
        delta = (beta - full)[:, None]
        error = delta.new_tensor([2 * EPS * self.largest * self.norm])
        return Change(delta=delta, squared=self.squared(delta), own=(self.kernel[rows] @ beta)[None], error=error)

    def squared(self, delta: Tensor) -> Tensor:
        return (delta * linear(self.kernel)(delta)).sum((0, 2))

    def trained(self, training: Training) -> Tensor:
        return self.solved[training.ridge]

    def outputs(self, test_kernel: Tensor, num_columns: int) -> Callable[[Tensor], Tensor]:
        return linear(test_kernel)


def solve_spd(A: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """A^-1 x of positive definite blocks [n, b, b], and the smallest squared pivot of Cholesky, [n]."""
    if A.shape[-1] == 1:
        return x / A, A[:, 0, 0]
    factor = torch.linalg.cholesky(A)
    return torch.cholesky_solve(x, factor), factor.diagonal(dim1=-2, dim2=-1).amin(-1).square()
