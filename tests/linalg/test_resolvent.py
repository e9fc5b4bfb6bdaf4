"""Truth: dense complex inverses."""

import pytest
import torch

from infotorch.linalg import resolvent
from infotorch.linalg.resolvent import blocks, solutions_at, solve_blocks, spread

P = torch.tensor([0.3 + 0.4j, 1.0 - 2.0j, 0.1 + 0.0j], dtype=torch.complex128)
WEIGHT = torch.tensor([0.5 + 0.1j, -1.0 + 1.0j, 0.25 + 0.0j], dtype=torch.complex128)


@pytest.fixture
def case(rng):
    m, b, n, V = 12, 3, 4, 2
    J = torch.randn(m, m, generator=rng).double()
    K, r = J @ J.mT, torch.randn(m, V, generator=rng).double()
    s, Q = torch.linalg.eigh(K)
    sets = torch.randperm(m, generator=rng).view(n, b)
    rows = Q.mT[:, sets.mT.reshape(-1)].view(m, b, n).permute(1, 0, 2)
    return K, r, Q, rows, sets, 1 / (s[:, None] + P)


@pytest.mark.parametrize("widest", [64, 1], ids=["by pairs", "by shifts"])
def test_leaving_out_solves_the_rest(case, widest, monkeypatch):
    monkeypatch.setattr(resolvent, "WIDEST_BLOCK_BY_PAIRS", widest)
    K, r, Q, rows, sets, D = case
    gamma, pivot = solve_blocks(blocks(rows, D), solutions_at(rows, D, Q.mT @ r))
    removed = torch.einsum("am,anv->nmv", Q.mT, spread(rows, D * WEIGHT, gamma))  # [n, m, V]
    for i, gone in enumerate(sets.tolist()):
        kept = [row for row in range(12) if row not in gone]
        for k, p in enumerate(P):
            A = K + p * torch.eye(12)
            torch.testing.assert_close(blocks(rows, D)[i, k], A.inverse()[gone][:, gone])
            torch.testing.assert_close(solutions_at(rows, D, Q.mT @ r)[i, k], (A.inverse() @ r.to(A.dtype))[gone])
        want = torch.zeros(12, 2, dtype=torch.complex128)
        for p, q in zip(P, WEIGHT, strict=True):
            A = K + p * torch.eye(12)
            want += q * A.inverse() @ r.to(A.dtype)
            want[kept] -= q * torch.linalg.solve(A[kept][:, kept], r[kept].to(A.dtype))
        torch.testing.assert_close(removed[i], 2 * want.real)
    assert (pivot > 0).all()
