r"""Leaving rows out of shifted resolvents, in the kernel's eigenbasis.

With :math:`G = Q D Q^\top` and :math:`D = \operatorname{diag}(1/(s + p))`, the solution that is zero on the rows g and
solves the rest is :math:`x - G_{:g}\gamma` with :math:`x = G r` and :math:`\gamma = G_{gg}^{-1} x_g`. G is complex and
symmetric: transposed, never conjugated.

Letters: m eigenvalues; n sets of b rows each; S shifts; V right-hand sides.
"""

import torch
from torch import Tensor

# Up to this many rows a set, products of row pairs against all shifts at once; beyond it, one product a shift.
WIDEST_BLOCK_BY_PAIRS = 64


def blocks(rows: Tensor, D: Tensor) -> Tensor:
    """G_gg [n, S, b, b] of every set and shift, from the sets' rows of Q, [b, m, n], and D [m, S]."""
    b, _, n = rows.shape
    S = D.shape[1]
    if b > WIDEST_BLOCK_BY_PAIRS:
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


def solutions_at(rows: Tensor, D: Tensor, rotated: Tensor) -> Tensor:
    """x_g [n, S, b, V] of every set and shift, from Q's rows [b, m, n], D [m, S] and Q.T r [m, V]."""
    b, m, n = rows.shape
    S, V = D.shape[1], rotated.shape[1]
    scaled = D[:, :, None] * rotated[:, None, :]  # [m, S, V]
    stacked = torch.cat([scaled.real, scaled.imag], dim=1).reshape(m, 2 * S * V)
    x = (stacked.mT @ rows).view(b, 2, S, V, n)
    return torch.complex(x[:, 0], x[:, 1]).permute(3, 1, 0, 2)


def solve_blocks(G: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Solutions gamma of G gamma = x, [n, S, b, V], and the smallest pivot of each block, [n, S]."""
    if G.shape[-1] == 1:
        return x / G, G.abs()[..., 0, 0]
    factors, pivots = torch.linalg.lu_factor(G)
    return torch.linalg.lu_solve(factors, pivots, x), factors.diagonal(dim1=-2, dim2=-1).abs().amin(-1)


def spread(rows: Tensor, H: Tensor, gamma: Tensor) -> Tensor:
    r"""Rotated :math:`2 \operatorname{Re} \sum_k q_k G_{:g}\gamma_k`, [m, n, V], from H = q D [m, S] and gamma."""
    b, m, n = rows.shape
    V = gamma.shape[-1]
    stacked = torch.cat([2 * H.real, -2 * H.imag], dim=1)  # [m, 2 S]
    by_row = torch.cat([gamma.real, gamma.imag], dim=1).permute(2, 1, 0, 3)  # [b, 2 S, n, V]
    total = rows.new_zeros(m, n, V)
    for c in range(b):
        total.addcmul_(rows[c, :, :, None], (stacked @ by_row[c].reshape(-1, n * V)).view(m, n, V))
    return total
