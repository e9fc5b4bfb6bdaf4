"""Truth: dense complex inverses."""

import numpy as np
import pytest
import torch

from infotorch import _C
from infotorch.linalg import resolvent
from infotorch.linalg.resolvent import leave_rows_out

P = torch.tensor([0.3 + 0.4j, 1.0 - 2.0j, 0.1 + 0.0j], dtype=torch.complex128)
WEIGHT = torch.tensor([0.5 + 0.1j, -1.0 + 1.0j, 0.25 + 0.0j], dtype=torch.complex128)
ROUTES = {"native": {}, "by pairs": {"MOST_NATIVE": 0}, "by shifts": {"MOST_NATIVE": 0, "WIDEST_BY_PAIRS": 1}}


@pytest.fixture(params=ROUTES)
def route(request, monkeypatch):
    for name, value in ROUTES[request.param].items():
        monkeypatch.setattr(resolvent, name, value)
    monkeypatch.setattr(resolvent, "BLOCK_BYTES", 64 * 17 * 9 * 2)  # two shifts at a time of 17 sets of three rows


def features(m, b, n, V, rng):
    """Features of n sets, the sets, the residual, and the eigendecomposition of their second moment."""
    phi = torch.randn(n * b, m, generator=rng).double()
    r = torch.randn(n * b, V, generator=rng).double()
    s, Q = torch.linalg.eigh(phi.mT @ phi)
    sets = torch.randperm(n * b, generator=rng).view(n, b)
    return phi, r, s, Q, sets


def removed(phi, r, s, Q, sets, **options):
    D = 1 / (s[:, None] + P)
    return leave_rows_out((phi @ Q)[sets], D, WEIGHT, Q.mT @ (phi.mT @ r), D.abs().square(), r[sets], **options)


def assert_close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("strided", [False, True], ids=["rows by set", "sets beside each other"])
def test_leaving_out_of_a_kernel_solves_the_rest(route, strided, rng):
    m, b, n, V = 51, 3, 17, 2
    J = torch.randn(m, 2 * m, generator=rng).double()
    K, r = J @ J.mT, torch.randn(m, V, generator=rng).double()
    s, Q = torch.linalg.eigh(K)
    sets = torch.randperm(m, generator=rng).view(n, b)
    rows, D = Q[sets], 1 / (s[:, None] + P)
    if strided:
        rows = rows.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    power = torch.cat([D.abs(), D.abs().square()], 1)
    got = leave_rows_out(rows, D, WEIGHT, Q.mT @ r, power)
    for i, gone in enumerate(sets.tolist()):
        kept = [row for row in range(m) if row not in gone]
        want = torch.zeros(m, V, dtype=torch.complex128)
        for k, (p, q) in enumerate(zip(P, WEIGHT, strict=True)):
            A = K + p * torch.eye(m, dtype=torch.float64)
            want += q * A.inverse() @ r.to(A.dtype)
            want[kept] -= q * torch.linalg.solve(A[kept][:, kept], r[kept].to(A.dtype))
            block = A.inverse()[gone][:, gone]
            gamma = torch.linalg.solve(block, (A.inverse() @ r.to(A.dtype))[gone])
            assert_close(got.norm[i, k], gamma.norm())
            assert_close(got.pivot[i, k], torch.linalg.lu(block).U.diagonal().abs().amin())
        assert_close(Q @ got.solution[:, i], 2 * want.real)
        assert_close(got.own[i], 2 * want.real[gone])
        assert_close(got.spans[i], Q[gone].square().sum(0) @ power)


@pytest.mark.parametrize(
    ("m", "b", "n", "V"), [(12, 3, 4, 2), (33, 10, 17, 1), (5, 1, 9, 3), (40, 32, 2, 1), (1, 2, 1, 1)]
)
def test_leaving_out_of_features_solves_the_rest(route, m, b, n, V, rng):
    phi, r, _, Q, sets = problem = features(m, b, n, V, rng)
    got = removed(*problem)
    for i, gone in enumerate(sets.tolist()):
        kept = [row for row in range(n * b) if row not in gone]
        want = torch.zeros(m, V, dtype=torch.complex128)
        for p, q in zip(P, WEIGHT, strict=True):
            for rows, sign in ((slice(None), 1), (kept, -1)):
                A = phi[rows].mT @ phi[rows] + p * torch.eye(m, dtype=torch.float64)
                want += sign * q * torch.linalg.solve(A, (phi[rows].mT @ r[rows]).to(A.dtype))
        torch.testing.assert_close(Q @ got.solution[:, i], 2 * want.real, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(got.own[i], phi[gone] @ (2 * want.real), rtol=1e-8, atol=1e-8)


def test_to_first_order_nothing_is_solved(route, rng):
    phi, r, _, Q, sets = problem = features(12, 3, 4, 2, rng)
    got = removed(*problem, first_order=True)
    for i, gone in enumerate(sets.tolist()):
        want = torch.zeros(12, 2, dtype=torch.complex128)
        for p, q in zip(P, WEIGHT, strict=True):
            A = (phi.mT @ phi + p * torch.eye(12, dtype=torch.float64)).to(P.dtype)
            rest = r[gone] - phi[gone].to(P.dtype) @ torch.linalg.solve(A, (phi.mT @ r).to(P.dtype))
            want += q * torch.linalg.solve(A, phi[gone].mT.to(P.dtype) @ rest)
        assert_close(Q @ got.solution[:, i], 2 * want.real)
    assert (got.pivot == 1).all()


def test_a_set_has_the_same_bits_beside_others(rng):
    phi, r, s, Q, sets = features(33, 10, 17, 1, rng)
    whole = removed(phi, r, s, Q, sets)
    for i in (0, 7, 15):
        alone = removed(phi, r, s, Q, sets[i : i + 2])
        for name in ("own", "norm", "pivot", "spans"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[i]), name
        assert torch.equal(alone.solution[:, 0], whole.solution[:, i])


def test_a_singular_block_is_not_finite(route, rng):
    """Not an error: one set must not stop all others."""
    phi, r, s, Q, sets = features(12, 3, 4, 2, rng)
    phi[sets[1]] = 0
    rows = (phi @ Q)[sets]
    D = 1 / (s[:, None] + P)
    got = leave_rows_out(rows, D, WEIGHT, Q.mT @ (phi.mT @ r), D.abs().square())
    assert not (got.pivot[1] > 0).any()
    assert not got.solution[:, 1].isfinite().any()
    assert got.solution[:, [0, 2, 3]].isfinite().all()


def test_a_set_that_is_no_number_is_told_by_its_pivots(route, rng):
    phi, r, s, Q, sets = features(12, 3, 4, 2, rng)
    phi[sets[1, 0]] = torch.nan
    rows, D = (phi.nan_to_num() @ Q)[sets], 1 / (s[:, None] + P)
    rows[1, 0] = torch.nan
    got = leave_rows_out(rows, D, WEIGHT, Q.mT @ (phi.nan_to_num().mT @ r), D.abs().square(), r[sets])
    assert got.pivot[1].isnan().all() and got.norm[1].isnan().all()
    assert got.solution[:, [0, 2, 3]].isfinite().all() and got.pivot[[0, 2, 3]].isfinite().all()


ARGUMENTS = {
    "rows": (4, 3, 12), "D": (12, 6), "H": (12, 6), "rotated": (12, 2), "power": (12, 3), "residual": (4, 3, 2),
    "solution": (12, 4, 2), "own": (4, 3, 2), "norm": (4, 3), "pivot": (4, 3), "spans": (4, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name not in ("rows", "D", "rotated", "power")])
def test_sizes_that_disagree_are_refused(name):
    given = {one: np.zeros(shape) for one, shape in ARGUMENTS.items()} | {name: np.zeros((5, 5))}
    with pytest.raises(ValueError, match=rf"leave_out: {name} must be .*; got \[5, 5\]. Match the sizes"):
        _C.leave_out(*given.values(), first_order=False)


def test_axes_that_disagree_are_refused():
    given = {one: np.zeros(shape) for one, shape in ARGUMENTS.items()} | {"rows": np.zeros((5, 5))}
    with pytest.raises(ValueError, match=r"leave_out: rows must be \[n, b, m\].*; got \[2, 2, 2, 2\] axes"):
        _C.leave_out(*given.values(), first_order=False)
