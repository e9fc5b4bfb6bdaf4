r"""Leaving rows out of shifted resolvents, in the eigenbasis of a kernel or of features' second moment.

With :math:`G = Q D Q^\top` and :math:`D = \operatorname{diag}(1/(s + p))`, the solution that is zero on the rows g and
solves the rest is :math:`x - G_{:g}\gamma` with :math:`x = G r` and :math:`\gamma = G_{gg}^{-1} x_g`. G is complex and
symmetric: transposed, never conjugated. For features :math:`\Phi` in place of Q the solution without their rows takes
:math:`\gamma = (I - G_{gg})^{-1} (r_g - x_g)`, with x from :math:`\Phi^\top r`. A training is a sum over shifts, with
weights q (linalg/contour.py).

Letters: m eigenvalues; n sets of b rows each; S shifts; V right-hand sides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch import _C

__all__ = ["Removed", "leave_rows_out"]

MOST_NATIVE = 1056
"""Products b (b + V) of a set up to which the compiled kernel keeps them in cache: 32 rows and one right-hand side."""
WIDEST_BY_PAIRS = 64
"""Up to this many rows a set, products of row pairs against all shifts at once; beyond it, one product a shift."""
BLOCK_BYTES = 1 << 27
"""Of the blocks that are in memory at once, where the compiled kernel does not serve."""


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What leaving each of n sets out takes away."""

    solution: Tensor
    r"""Of the rotated solution, :math:`2 \operatorname{Re} \sum_k q_k D_k Q_g^\top \gamma_k`, [m, n, V]."""
    own: Tensor
    """Products of the sets' rows with it, [n, b, V]."""
    norm: Tensor
    """Of gamma, [n, S]."""
    pivot: Tensor
    """The smallest of each block's elimination, [n, S]."""
    spans: Tensor
    """Squares of the sets' rows, summed over each set, times ``power``, [n, P]."""

    def relative_error(self, q: Tensor, amplification: Tensor) -> Tensor:
        """Of ``solution``, [n], where rounding grows by ``amplification`` [n, S] in a shift's share of it."""
        share = q.abs() * self.norm  # [n, S]
        size = share.sum(-1)
        return 2 * torch.finfo(torch.float64).eps * (share * amplification).sum(-1) / size.where(size > 0, 1.0)


def leave_rows_out(
    rows: Tensor,
    D: Tensor,
    q: Tensor,
    rotated: Tensor,
    power: Tensor,
    residual: Tensor | None = None,
    *,
    first_order: bool = False,
) -> Removed:
    """Solve the small system of every set and shift.

    Args:
        rows: Of the sets, [n, b, m], float64.
        D: 1 / (s + p), [m, S], complex128.
        q: Weights, [S], complex128.
        rotated: Q^T r, or Phi^T r in the eigenbasis, [m, V].
        power: What the squares of the rows are multiplied by, [m, P].
        residual: r of the sets' rows, [n, b, V], where rows are of features; None: of eigenvectors.
        first_order: With ``residual``: take gamma as r - x, for the derivative in the weight of the rows.
    """
    H = torch.cat([2 * (D * q).real, -2 * (D * q).imag], 1)  # [m, 2 S]
    b, V = rows.shape[1], rotated.shape[1]
    if rows.device.type == "cpu" and len(rows) > 1 and b * (b + V) <= MOST_NATIVE:  # sets lie side by side in registers
        return _native(rows, torch.cat([D.real, D.imag], 1), H, rotated, power, residual, first_order)
    n, _, m = rows.shape
    S = D.shape[1]
    rows = rows.permute(1, 2, 0).contiguous()  # [b, m, n]
    solution = rows.new_zeros(m, n, V)
    norms, smallest = [], []
    step = max(1, BLOCK_BYTES // max(1, 64 * n * b * b))  # shifts at a time
    eye = torch.eye(b, dtype=torch.complex128, device=rows.device)
    for some in torch.arange(S, device=rows.device).split(step):
        x = _solutions(rows, D[:, some], rotated)
        right = x if residual is None else residual[:, None] - x
        gamma, pivot = right, right.real.new_ones(right.shape[:2])
        if not first_order:
            block = _blocks(rows, D[:, some])
            gamma, pivot = _solve(block if residual is None else eye - block, right)
        _spread(solution, rows, torch.cat([H[:, some], H[:, S + some]], 1), gamma)
        norms.append(gamma.abs().square().sum((-1, -2)).sqrt())
        smallest.append(pivot)
    own = torch.stack([(row[..., None] * solution).sum(0) for row in rows], 1)
    spans = rows.square().sum(0).mT @ power
    return Removed(solution=solution, own=own, norm=torch.cat(norms, 1), pivot=torch.cat(smallest, 1), spans=spans)


def _native(
    rows: Tensor,
    D: Tensor,
    H: Tensor,
    rotated: Tensor,
    power: Tensor,
    residual: Tensor | None,
    first_order: bool,
) -> Removed:
    """The same, some sets at a time from their first product to the last, by csrc/cpu/leave_out.cpp."""
    n, b, m = rows.shape
    S, V = D.shape[1] // 2, rotated.shape[1]
    removed = Removed(
        solution=rows.new_empty(m, n, V), own=rows.new_empty(n, b, V), norm=rows.new_empty(n, S),
        pivot=rows.new_empty(n, S), spans=rows.new_empty(n, power.shape[1]),
    )  # fmt: skip
    _C.leave_out(
        rows.numpy(), D.numpy(), H.numpy(), rotated.contiguous().numpy(),
        power.contiguous().numpy(), None if residual is None else residual.contiguous().numpy(),
        removed.solution.numpy(), removed.own.numpy(), removed.norm.numpy(), removed.pivot.numpy(),
        removed.spans.numpy(), first_order=first_order,
    )  # fmt: skip
    return removed


def _blocks(rows: Tensor, D: Tensor) -> Tensor:
    """G_gg [n, S, b, b] of every set and shift, from rows [b, m, n] and D [m, S]."""
    b, _, n = rows.shape
    S = D.shape[1]
    if b > WIDEST_BY_PAIRS:
        by_set = rows.permute(2, 0, 1)  # [n, b, m]
        real, imag = D.real.mT[:, None, None], D.imag.mT[:, None, None]  # [S, 1, 1, m]
        parts = [
            torch.complex((by_set * re) @ by_set.mT, (by_set * im) @ by_set.mT)
            for re, im in zip(real, imag, strict=True)
        ]
        return torch.stack(parts, dim=1)
    stacked = torch.cat([D.real, D.imag], dim=1).mT  # [2 S, m]
    pairs = rows.new_empty(b, b, 2 * S, n)
    for c in range(b):
        upper = stacked @ (rows[c] * rows[c:])  # [b - c, 2 S, n]
        pairs[c, c:] = upper
        pairs[c:, c] = upper
    return torch.complex(pairs[:, :, :S], pairs[:, :, S:]).permute(3, 2, 0, 1)


def _solutions(rows: Tensor, D: Tensor, rotated: Tensor) -> Tensor:
    """x_g [n, S, b, V] of every set and shift."""
    b, m, n = rows.shape
    S, V = D.shape[1], rotated.shape[1]
    scaled = D[:, :, None] * rotated[:, None, :]  # [m, S, V]
    stacked = torch.cat([scaled.real, scaled.imag], dim=1).reshape(m, 2 * S * V)
    x = (stacked.mT @ rows).view(b, 2, S, V, n)
    return torch.complex(x[:, 0], x[:, 1]).permute(3, 1, 0, 2)


def _solve(G: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Solutions gamma of G gamma = x, [n, S, b, V], and the smallest pivot of each block, [n, S]."""
    if G.shape[-1] == 1:
        return x / G, G.abs()[..., 0, 0]
    factors, pivots, _ = torch.linalg.lu_factor_ex(G)  # of which a singular one gives a set no number, not an error
    return torch.linalg.lu_solve(factors, pivots, x), factors.diagonal(dim1=-2, dim2=-1).abs().amin(-1)


def _spread(total: Tensor, rows: Tensor, H: Tensor, gamma: Tensor) -> None:
    """Add to ``total`` [m, n, V], for H = 2 Re(q D), -2 Im(q D) of some shifts, [m, 2 S]."""
    b, m, n = rows.shape
    V = gamma.shape[-1]
    by_row = torch.cat([gamma.real, gamma.imag], dim=1).permute(2, 1, 0, 3)  # [b, 2 S, n, V]
    for c in range(b):
        total.addcmul_(rows[c, :, :, None], (H @ by_row[c].reshape(H.shape[1], n * V)).view(m, n, V))
