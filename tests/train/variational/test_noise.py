"""Noise of outputs: the golden layer, and moments against whole draws of the weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.train import variational
from tests.train.variational import golden
from tests.train.variational.test_gaussian import made

pytestmark = pytest.mark.filterwarnings("ignore:variational. local noise")


def test_the_golden_layer():
    """Outputs, objective and gradients at fixed noise."""
    case = golden.load()
    q = golden.layer(case)
    torch.manual_seed(0)
    eps = torch.randn(4, 3, dtype=torch.float64)
    torch.manual_seed(0)
    outputs = q(case["a"])
    torch.testing.assert_close(outputs, case["local_mean"] + case["local_var"].sqrt() * eps, rtol=1e-10, atol=1e-12)
    fixed = outputs + ((case["eps"] - eps) * (outputs - case["local_mean"]) / eps)  # the same graph, with their eps
    nll = F.cross_entropy(fixed, case["y"], reduction="sum")
    objective = nll + case["beta"] * q.kl()
    torch.testing.assert_close(nll, case["nll"], rtol=1e-10, atol=0)
    torch.testing.assert_close(objective, case["objective"], rtol=1e-10, atol=0)


def test_the_golden_gradients(monkeypatch):
    case = golden.load()
    q = golden.layer(case)
    monkeypatch.setattr(torch, "randn_like", lambda like: case["eps"])
    (F.cross_entropy(q(case["a"]), case["y"], reduction="sum") + case["beta"] * q.kl()).backward()
    keys = {"weight": "grad_mu", "weight_logvar": "grad_logvar", "bias": "grad_bias_mu"}
    for name, key in (keys | {"bias_logvar": "grad_bias_logvar"}).items():
        torch.testing.assert_close(q.network.get_parameter(name).grad, case[key], rtol=1e-10, atol=1e-12)


LAYERS = {
    "linear": (lambda: nn.Linear(3, 2), (2, 3)),
    "positions": (lambda: nn.Linear(3, 2), (2, 3, 3)),
    "no bias": (lambda: nn.Linear(3, 2, bias=False), (2, 3)),
    "one sample": (lambda: nn.Linear(3, 2), (3,)),
    "conv1d": (lambda: nn.Conv1d(2, 2, 2, padding=1, padding_mode="circular"), (2, 2, 3)),
    "conv2d": (lambda: nn.Conv2d(2, 2, 2, stride=2, padding=1), (2, 2, 3, 3)),
    "unbatched": (lambda: nn.Conv1d(2, 2, 2), (2, 4)),
}


def outputs_of(q, x, K=1200):
    torch.manual_seed(2)
    with torch.no_grad():
        return torch.stack([q(x).flatten() for _ in range(K)])


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
@pytest.mark.parametrize("layer", LAYERS)
def test_local_noise_has_the_variance_of_noisy_weights(layer, granularity):
    build, shape = LAYERS[layer]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = made(granularity, build(), noise="weight")
    q = made(granularity, build(), noise="local")
    q.load_state_dict(weights.state_dict())
    check_moments(q, weights, x, across=False)


@pytest.mark.parametrize("granularity", ["weight", "filter"])
@pytest.mark.parametrize("layer", LAYERS)
def test_flipout_has_the_covariance_of_noisy_weights_within_a_sample(layer, granularity):
    """Of positions too, as local noise has not; and none between samples."""
    build, shape = LAYERS[layer]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = made(granularity, build(), noise="weight")
    q = made(granularity, build(), noise="flipout")
    q.load_state_dict(weights.state_dict())
    check_moments(q, weights, x, across=True)


def check_moments(q, weights, x, *, across):
    """Against the outputs' Jacobian in the weights and the dense covariance, within errors of Monte Carlo."""
    names = [layer.full(name) for layer in weights.layers for name in layer.names]
    own = {name: weights.network.get_parameter(name).detach() for name in names}

    def call(values):
        return torch.func.functional_call(weights.network, values, (x,)).flatten()

    J = torch.cat([j.flatten(1) for j in torch.func.jacrev(call)(own).values()], 1)
    expected = J @ weights.posterior().covariance() @ J.T
    mean = call(own)
    outputs = outputs_of(q, x)
    variance = expected.diagonal()
    assert ((outputs.mean(0) - mean).abs() / (variance / len(outputs)).sqrt()).max() < 5
    found = outputs.T.cov()
    spread = ((variance[:, None] * variance + expected**2) * 1.5 / len(outputs)).sqrt()
    batched = x.dim() > {nn.Linear: 1, nn.Conv1d: 2, nn.Conv2d: 3}[type(q.network)]
    N = len(x) if batched else 1
    sample = torch.arange(len(mean)) // (len(mean) // N)
    same = sample[:, None] == sample
    if across:
        expected = expected * same
    else:
        same = torch.eye(len(mean), dtype=torch.bool)
    assert ((found - expected).abs() / spread)[same].max() < 6
    if across and N > 1:
        assert ((found - expected).abs() / spread)[~same].max() < 6


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_the_gradient_at_an_input_of_zeros_is_finite(granularity):
    """The variance is 0 there, and the root's slope infinite."""
    q = variational(nn.Linear(3, 2, bias=False), prior_var=1.0, granularity=granularity, noise="local")
    x = torch.tensor([[0.0, 0, 0], [1.0, 2, 3]], requires_grad=True)
    outputs = q(x)
    assert torch.equal(outputs[0], torch.zeros(2))
    outputs.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in q.parameters() if p.grad is not None) and x.grad.isfinite().all()


def test_local_noise_over_positions_is_said():
    q = variational(nn.Linear(3, 2), prior_var=1.0, noise="local")
    with pytest.warns(UserWarning, match=r"covariances between positions are lost. Use noise=\"flipout\""):
        q(torch.randn(4, 5, 3))
