import math

import pytest
import torch

from infotorch.errors import ConfigError, NumericsError
from infotorch.measures.leave_one_out_variance import leave_one_out_variance_from_kernel as variance
from tests.laws import assert_golden
from tests.measures.retraining import descent, flow, make_problem

INF = math.inf


def retrained(problem, train, **options):
    """Variances of weights and of outputs over N trainings, each without one sample."""
    N = len(problem.r)
    kept = [[i for i in range(N) if i != u] for u in range(N)]
    w = torch.stack([train(problem.J[k], problem.r[k], **options) for k in kept])  # [N, P]
    f = torch.einsum("mcp,up->umc", problem.J_test, w)
    return (w - w.mean(0)).square().sum() / N, (f - f.mean(0)).square().sum() / N


@pytest.mark.parametrize("N, C", [(6, 2), (7, 1), (2, 3)])
@pytest.mark.parametrize("times", [[INF], [0.0, 0.5, 30.0, INF]], ids=["inverse", "eigenvectors"])
def test_flow_is_retraining(N, C, times, rng):
    problem = make_problem(N, C, 40, 3, rng)
    got = variance(problem.K, problem.r, problem.K_test, ridge=0.3, time=times)
    want = [retrained(problem, flow, ridge=0.3, time=time) for time in times]
    assert_golden(got.weights, torch.stack([w for w, _ in want]))
    assert_golden(got.functions, torch.stack([f for _, f in want]))


def test_descent_is_retraining(rng):
    """A literal start and a contour later, in one call."""
    problem, steps = make_problem(5, 2, 40, 3, rng), [3, 50]
    got = variance(problem.K, problem.r, problem.K_test, ridge=0.1, lr=0.05, steps=steps)
    want = [retrained(problem, descent, ridge=0.1, lr=0.05, steps=count) for count in steps]
    assert_golden(got.weights, torch.stack([w for w, _ in want]))
    assert_golden(got.functions, torch.stack([f for _, f in want]))


def test_tiles_do_not_matter(rng, monkeypatch):
    problem = make_problem(9, 2, 40, 3, rng)
    whole = variance(problem.K, problem.r, problem.K_test, ridge=0.1)
    monkeypatch.setattr("infotorch.measures.leave_out.TILE_BYTES", 8 * 18 * 4 * 2)  # two sets a tile
    tiled = variance(problem.K, problem.r, problem.K_test, ridge=0.1)
    assert_golden(tiled.weights, whole.weights, rtol=1e-12)
    assert_golden(tiled.functions, whole.functions, rtol=1e-12)


def test_a_rotation_of_the_outputs_changes_nothing(rng):
    problem = make_problem(6, 2, 40, 3, rng)
    Q = torch.linalg.qr(torch.randn(2, 2, generator=rng).double()).Q
    J = torch.einsum("cd,ndp->ncp", Q, problem.J).flatten(0, 1)
    turned = variance(J @ J.mT, problem.r @ Q.mT, ridge=0.2)
    assert_golden(turned.weights, variance(problem.K, problem.r, ridge=0.2).weights)


def test_twins_lack_nothing():
    """Without either of two copies the same point remains."""
    got = variance(torch.ones(2, 2).double(), torch.ones(2, 1), time=1.0)
    assert 0 <= got.weights.item() < 1e-15 and got.functions is None


def test_refusals(rng):
    problem = make_problem(6, 1, 4, 2, rng)
    with pytest.raises(NumericsError, match="must be positive definite at t=inf"):
        variance(problem.K, problem.r)
    with pytest.raises(ConfigError, match="ridge must be finite and at least 0; got -1"):
        variance(problem.K, problem.r, ridge=-1.0)
