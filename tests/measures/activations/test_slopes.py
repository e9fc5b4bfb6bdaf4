import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.measures.activations.noise import weight_noise
from infotorch.measures.activations.slopes import covariance_slopes
from tests.measures.activations.truth import jacobians, spd

NETS = {
    "tanh": lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)),
    "norm": lambda: nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)),
    "linear": lambda: nn.Sequential(nn.Linear(3, 2)),
    "relu": lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("net", NETS)
def test_central_differences_of_the_covariance(net, rng):
    torch.manual_seed(0)
    model = NETS[net]().double().eval()
    P, h = sum(p.numel() for p in model.parameters()), 1e-5
    Sigma = spd(P, rng)
    x = torch.randn(2, 3, dtype=torch.float64, generator=rng)
    got = covariance_slopes(Task(model), x, weight_noise(Task(model), Sigma))

    def covariance(x):
        J = jacobians(model, x)[0]
        return J @ Sigma @ J.mT

    for a in range(3):
        e = torch.zeros(3, dtype=torch.float64)
        e[a] = h
        truth = (covariance(x + e) - covariance(x - e)) / (2 * h)
        torch.testing.assert_close(got[..., a], truth, rtol=1e-6, atol=1e-6 * float(truth.abs().max()))


def test_a_layer_whose_noise_does_not_follow_x(rng):
    model = nn.Linear(3, 2).double().eval()
    model.weight.requires_grad_(False)  # a bias alone
    x = torch.randn(2, 3, dtype=torch.float64, generator=rng)
    task = Task(model, loss="mse")
    assert not covariance_slopes(task, x, weight_noise(task, torch.ones(2))).any()
