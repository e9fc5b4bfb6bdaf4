"""KL and draws of a layer's Gaussian, against dense ones."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from infotorch.train import variational
from tests.train.variational import golden


def made(granularity, model=None, **options):
    """A network whose posterior is anything but round."""
    torch.manual_seed(1)
    model = model or nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2, bias=False))
    q = variational(model.double(), granularity=granularity, **{"prior_var": 0.3} | options)
    with torch.no_grad():
        for p in q.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return q


def test_the_golden_divergence_and_prior_variance():
    case = golden.load()
    torch.testing.assert_close(golden.layer(case).kl(), case["kl"], rtol=1e-10, atol=0)
    learned = golden.layer(case, prior_var="learned")
    assert learned.prior_var[""] == pytest.approx(float(case["optimal_prior_var"]), rel=1e-10)


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_kl_is_that_of_the_dense_gaussians(granularity):
    q = made(granularity)
    posterior = q.posterior()
    start = torch.cat([b.flatten() for n, b in q.named_buffers() if n.endswith("prior_mean")])
    prior = MultivariateNormal(start, 0.3 * torch.eye(q.num_weights, dtype=torch.float64))
    dense = kl_divergence(MultivariateNormal(posterior.mean, posterior.covariance()), prior)
    torch.testing.assert_close(q.kl(), dense, rtol=1e-10, atol=0)
    torch.testing.assert_close(sum(q.kl_by_layer().values()), dense, rtol=1e-10, atol=0)


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_a_learned_prior_variance_is_the_best_of_each_layer(granularity):
    """KL with any other variance is larger, and the gradient is that at the variance held fixed."""
    learned = made(granularity, prior_var="learned")
    best = learned.prior_var
    fixed = made(granularity, prior_var=best)
    torch.testing.assert_close(learned.kl(), fixed.kl())
    learned.kl().backward()
    fixed.kl().backward()
    for ours, theirs in zip(learned.parameters(), fixed.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for factor in (0.9, 1.1):
        assert made(granularity, prior_var={path: factor * v for path, v in best.items()}).kl() > learned.kl()


NETS = {
    "linear": lambda: nn.Linear(3, 2),
    "conv": lambda: nn.Conv2d(2, 3, 2),
    "transposed": lambda: nn.ConvTranspose1d(4, 6, 2, groups=2),
    "norm": lambda: nn.LayerNorm(4),
    "embedding": lambda: nn.Embedding(3, 2),
    "lstm": lambda: nn.LSTM(2, 2),
}


@pytest.mark.parametrize("granularity", ["weight", "filter"])
@pytest.mark.parametrize("net", NETS)
def test_draws_have_the_covariance_of_the_posterior(net, granularity):
    check_draws(made(granularity, NETS[net]()))


@pytest.mark.parametrize("net", ["linear", "conv"])
def test_kronecker_draws_have_the_covariance_of_the_posterior(net):
    check_draws(made("kron", NETS[net]()))


def check_draws(q):
    torch.manual_seed(0)
    draws = torch.stack([torch.cat([w.flatten() for w in q.drawn_weights().values()]) for _ in range(1000)]).detach()
    posterior = q.posterior()
    expected, found = posterior.covariance(), draws.T.cov()
    diagonal = expected.diagonal()
    spread = ((diagonal[:, None] * diagonal + expected**2) / 1000).sqrt()  # of a sample covariance
    assert ((found - expected).abs() / spread).max() < 5.5
    assert ((draws.mean(0) - posterior.mean).abs() / (diagonal / 1000).sqrt()).max() < 5


def test_a_filter_shares_its_variance_with_its_bias():
    q = made("filter", nn.ConvTranspose1d(4, 6, 2, groups=2))
    assert [n for n, _ in q.named_parameters()] == ["network.weight", "network.bias", "network.weight_logvar"]
    weight, bias = q.posterior().variance.split([24, 6])
    units = weight.view(2, 2, 3, 2).transpose(1, 2).reshape(6, 4)  # [groups, I / groups, O / groups, k]
    torch.testing.assert_close(units, bias[:, None].expand(6, 4))
    assert len(set(bias.tolist())) == 6


def test_the_first_variance_is_a_twentieth_of_a_units():
    model = nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3), nn.Embedding(3, 2)).double()
    with torch.no_grad():
        model[2].weight.zero_()
    q = variational(model, prior_var=1.0)
    own = model[0].weight.var(1, correction=0)
    torch.testing.assert_close(q.network[0].weight_logvar.exp(), (0.05 * own)[:, None].expand(3, 5))
    torch.testing.assert_close(q.network[0].bias_logvar.exp(), 0.05 * own)
    torch.testing.assert_close(
        q.network[1].weight_logvar.exp(), torch.full((3,), 0.05).double()
    )  # constant: its square
    torch.testing.assert_close(q.network[2].weight_logvar.exp(), torch.full((3, 2), 5e-4).double())  # all 0
