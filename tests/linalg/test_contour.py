import pytest
import torch

from infotorch.linalg.contour import descent_shifts, flow_shifts, limit_shifts, parabola
from infotorch.linalg.gain import descent_gain, flow_gain

# Largest relative error by the number of nodes, as measured (7.2e-13, 9.4e-15) with room for another libm.
ERROR = {24: 3e-9, 32: 1e-12, 40: 3e-14}


def resolvent_sum(shifts, s):
    return 2 * (shifts.q / (shifts.p + s[:, None])).sum(1).real


@pytest.mark.parametrize("nodes", ERROR)
@pytest.mark.parametrize("time", [1e-3, 1.0, 4e7])
def test_flow_is_its_gain_at_every_eigenvalue(nodes, time):
    """Uniformly for t s from 0 to 1e14."""
    s = torch.cat([torch.zeros(1), torch.logspace(-14, 14, 400)]).double() / time
    want = flow_gain(s, time)
    assert ((resolvent_sum(flow_shifts(time, 0.0, nodes), s) - want) / want).abs().max() < ERROR[nodes]


@pytest.mark.parametrize("nodes", ERROR)
@pytest.mark.parametrize("steps", [16, 17, 400, 100_000])
def test_descent_is_its_gain_where_lr_s_is_below_1(nodes, steps):
    s = torch.cat([torch.zeros(1).double(), torch.logspace(-12, -1e-9, 400, dtype=torch.float64)]) / 0.3
    want = descent_gain(s, 0.3, steps)
    assert ((resolvent_sum(descent_shifts(0.3, steps, 0.0, nodes), s) - want) / want).abs().max() < ERROR[nodes]


def test_descent_of_few_steps_is_not():
    """Why fewer than 16 steps are taken literally."""
    s = torch.linspace(0, 3, 50).double()
    want = descent_gain(s, 0.3, 2)
    assert ((resolvent_sum(descent_shifts(0.3, 2, 0.0, 32), s) - want) / want).abs().max() > 1e-4


def test_ridge_shifts_the_eigenvalues():
    s = torch.logspace(-3, 3, 20).double()
    for with_ridge, without in (
        (limit_shifts(0.7), limit_shifts(0.0)),
        (flow_shifts(2.0, 0.7, 40), flow_shifts(2.0, 0.0, 40)),
        (descent_shifts(1e-4, 50, 0.7, 40), descent_shifts(1e-4, 50, 0.0, 40)),
    ):
        torch.testing.assert_close(resolvent_sum(with_ridge, s), resolvent_sum(without, s + 0.7), rtol=1e-13, atol=0)


def test_the_limit_is_the_inverse():
    s = torch.tensor([0.5, 1.0, 4.0]).double()
    assert resolvent_sum(limit_shifts(1.0), s).tolist() == [1 / 1.5, 0.5, 0.2]


def test_the_parabola_gives_the_exponential():
    z, c = parabola(40)
    x = -torch.logspace(-6, 1, 30).double()
    torch.testing.assert_close(2 * (c / (z - x[:, None])).sum(1).real, x.exp(), rtol=0, atol=1e-13)
