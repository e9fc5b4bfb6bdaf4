"""One prior for runs on many data sets."""

import math
import re

import pytest
import torch
from torch import nn

from infotorch import ConfigError, DataError, ShapeError
from infotorch.train import marginal_prior, variational
from infotorch.train.variational.posterior import VariationalPosterior


def runs(mu, var):
    """Posteriors with these means and variances, [R, P]."""
    shapes = {"w": mu.shape[1:]}
    return [VariationalPosterior(mean=m, variance=v, shapes=shapes) for m, v in zip(mu, var, strict=True)]


def drawn(R, P=4):
    g = torch.Generator().manual_seed(0)
    return torch.randn(R, P, generator=g).double(), torch.rand(R, P, generator=g).double() + 0.1


@pytest.mark.parametrize("shared", ["weight", "parameter"])
def test_no_gaussian_has_a_smaller_mean_kl(shared):
    """Against a numerical minimisation over mean and variance."""
    mu, var = drawn(5)
    found = marginal_prior(runs(mu, var), shared=shared)
    mean = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    log = torch.zeros(4 if shared == "weight" else 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([mean, log], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def mean_kl():
        optimizer.zero_grad()
        kl = 0.5 * ((var + (mu - mean) ** 2) / log.exp() - 1 + log - var.log()).sum(1).mean()
        kl.backward()
        return kl

    optimizer.step(mean_kl)
    assert found.in_sample == pytest.approx(float(mean_kl().detach()), rel=1e-9)
    torch.testing.assert_close(found.mean, mean.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.variance, log.detach().exp().expand(4), rtol=1e-5, atol=0)


def test_each_run_is_compared_with_the_prior_of_the_others():
    mu, var = drawn(4)
    found = marginal_prior(runs(mu, var))
    rest = marginal_prior(runs(mu[1:], var[1:]))
    expected = 0.5 * ((var[0] + (mu[0] - rest.mean) ** 2) / rest.variance - 1 + (rest.variance / var[0]).log()).sum()
    torch.testing.assert_close(found.kl[0], expected)
    assert found.mean_kl == pytest.approx(float(found.kl.mean()))
    assert "each from the prior of the others: in expectation at least I(w; D)" in str(found)


def test_the_mean_kl_is_above_the_information_of_a_gaussian_channel():
    """D ~ N(0, 1) and w = D + noise of variance v: I(w; D) = log(1 + 1/v) / 2, which the population prior reaches."""
    v, P = 0.25, 200
    truth = P * 0.5 * math.log(1 + 1 / v)
    g = torch.Generator().manual_seed(0)
    for R in (4, 40):
        mu = torch.randn(R, P, generator=g).double()
        found = marginal_prior(runs(mu, torch.full_like(mu, v)))
        assert found.mean_kl > truth
        assert found.in_sample < found.mean_kl
    assert found.mean_kl == pytest.approx(truth, rel=0.1)


def test_runs_that_are_the_same_tell_nothing():
    model = nn.Linear(3, 2)
    found = marginal_prior([variational(model, prior_var=1.0) for _ in range(3)])
    assert abs(found.mean_kl) < 1e-12 and abs(found.in_sample) < 1e-12 and found.stderr < 1e-12


REFUSED = {
    "few": (lambda: runs(*drawn(2)), {}, DataError, "there must be at least 3 runs; got 2. Train on more data sets."),
    "shared": (lambda: runs(*drawn(3)), {"shared": "wieght"}, ConfigError, "Did you mean 'weight'?"),
    "others": (lambda: [*runs(*drawn(3)), *runs(*drawn(1, 5))], {}, ShapeError, "same parameters; got others at 3."),
    "plain": (lambda: [nn.Linear(2, 1)] * 3, {}, ConfigError, "runs must be variational; got Linear at 0."),
    "kron": (
        lambda: [variational(nn.Linear(2, 2), prior_var=1.0, granularity="kron")] * 3, {}, ShapeError,
        "runs must have diagonal covariances; got Kronecker ones at 0.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    build, options, kind, message = REFUSED[case]
    with pytest.raises(kind, match=re.escape(message)):
        marginal_prior(build(), **options)
