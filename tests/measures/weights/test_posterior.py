"""Posteriors of every family against covariances written out."""

import pytest
import torch

from infotorch import NotSupported, weights_information
from infotorch.errors import ConfigError, ShapeError
from infotorch.measures.weights.posterior import DiagonalPosterior
from tests.measures.weights.golden_nets import CASES, case, golden
from tests.measures.weights.truths import divergence, fisher_rows, net, objective, optimum, quadratic

ESTIMATORS = ("gram", "dense", "block", "kfac", "diag", "filter")


@pytest.mark.parametrize("row", range(6))
def test_golden_optimum(row):
    """Full and diagonal optima, their rise, KL and C, and the paper's printed form at half of beta."""
    values = golden("gaussian_optimum")
    task, data = quadratic(values["H"], values["w"])
    table = dict(zip(values["columns"], values["table"][row].tolist(), strict=True))
    full, diagonal, printed = values["covariances"][row]

    def found(estimator, beta):
        return weights_information(
            task, data, beta=beta, prior_var=table["lam2"], prior_mean=values["w0"], estimator=estimator, draws=0
        )

    for estimator, truth, name in (("gram", full, "full"), ("dense", full, "full"), ("diag", diagonal, "diag")):
        got = found(estimator, table["beta"])
        torch.testing.assert_close(got.posterior().covariance(), truth, rtol=1e-10, atol=1e-12)
        assert got.nats == pytest.approx(table[f"kl_{name}"], rel=1e-10)
        assert got.predicted_rise == pytest.approx(table[f"rise_{name}"], rel=1e-10)
    assert found("gram", table["beta"]).lagrangian(0.0) == pytest.approx(table["C_full"], rel=1e-10)
    half = found("gram", table["beta"] / 2)
    torch.testing.assert_close(half.posterior().covariance(), printed, rtol=1e-10, atol=1e-12)
    assert half.nats == pytest.approx(table["kl_printed"], rel=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_full_covariance_is_the_inverse_of_fisher_and_prior(name):
    task, (x, y), values = case(name)
    truth = optimum(values["fisher"], 0.3, 2.0)
    for estimator in ("gram", "dense"):
        posterior = weights_information(task, (x, y), beta=0.3, prior_var=2.0, estimator=estimator, draws=0).posterior()
        torch.testing.assert_close(posterior.covariance(), truth, rtol=1e-8, atol=1e-12)
        assert torch.equal(posterior.mean, values["w"])
        assert list(posterior.shapes) == values["param_names"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("prior_var", [0.5, {"0": 0.2, "2": 3.0}], ids=["one", "by layer"])
def test_divergence_is_that_of_the_covariance(estimator, prior_var, rng):
    """The closed form of nats is the KL of the posterior that is given out, with its own mean and prior."""
    task, data = net(rng)
    got = weights_information(task, data, beta=0.2, prior_var=prior_var, estimator=estimator, draws=0)
    sizes = {"0": 25, "2": 18}
    variance = torch.full((43,), 0.5, dtype=torch.float64)
    if isinstance(prior_var, dict):
        variance = torch.cat([torch.full((sizes[path],), prior_var[path], dtype=torch.float64) for path in sizes])
    Sigma = got.posterior().covariance()
    assert got.nats == pytest.approx(divergence(Sigma, got.posterior().mean, variance), rel=1e-9)
    if estimator in ("gram", "dense"):
        F = fisher_rows(task, data[0])
        torch.testing.assert_close(Sigma, optimum(F.mT @ F, 0.2, variance), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_times_is_the_covariance_and_draws_have_it(estimator, rng):
    task, data = net(rng)
    posterior = weights_information(task, data, beta=0.2, estimator=estimator, draws=0).posterior()
    Sigma = posterior.covariance()
    V = torch.randn(43, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(posterior.times(V), Sigma @ V)
    torch.testing.assert_close(posterior.times(V[:, 0]), Sigma @ V[:, 0])
    K = 20000
    drawn = posterior.sample(K, seed=3)
    assert drawn.shape == (K, 43) and drawn.dtype == torch.float64
    assert torch.equal(drawn[:2], posterior.sample(K, seed=3)[:2])
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(Sigma), (drawn - posterior.mean).mT, upper=False)
    spread = white @ white.mT / K - torch.eye(43).double()
    assert spread.abs().max() < 6 * (2 / K) ** 0.5  # of 946 entries whose standard deviation is at most (2 / K)^(1/2)
    assert white.mean(1).abs().max() < 5 / K**0.5


def test_no_perturbed_covariance_has_a_lower_objective(rng):
    task, (x, y) = net(rng)
    rows = fisher_rows(task, x)
    F = rows.mT @ rows
    got = weights_information(task, (x, y), beta=0.3, prior_var=0.7, draws=0)
    Sigma, offset = got.posterior().covariance(), got.posterior().mean
    least, L = objective(F, Sigma, offset, 0.3, 0.7), torch.linalg.cholesky(Sigma)
    assert got.lagrangian(0.0) == pytest.approx(least, rel=1e-10)
    for size in torch.logspace(-3, 0, 100).tolist():
        A = torch.randn(43, 43, dtype=torch.float64, generator=rng) * size / 43**0.5
        moved = torch.linalg.matrix_exp(A + A.mT)
        assert objective(F, L @ moved @ L.mT, offset, 0.3, 0.7) > least


def test_a_posterior_outlives_the_weights_that_it_is_of(rng):
    """Products with the Jacobian are at the mean, whatever the model holds by now."""
    task, data = net(rng)
    posterior = weights_information(task, data, estimator="gram", draws=0).posterior()
    before = posterior.covariance()
    with torch.no_grad():
        for p in task.model.parameters():
            p.add_(1.0)
    torch.testing.assert_close(posterior.covariance(), before, rtol=0, atol=0)
    torch.testing.assert_close(task.model[0].weight.detach(), posterior.mean[:20].view(5, 4) + 1)


def test_misuse(rng):
    task, data = net(rng)
    posterior = weights_information(task, data, draws=0).posterior()
    with pytest.raises(ShapeError, match=r"posterior.times: V must be \[P, J\] or \[P\] with P = 43; got \[42\]"):
        posterior.times(torch.zeros(42))
    for K in (0, 1.5, True):
        with pytest.raises(ConfigError, match=r"posterior\.sample: K must be a whole number of at least 1; got"):
            posterior.sample(K, seed=0)
    large = torch.ones(20000)
    with pytest.raises(
        NotSupported, match=r"posterior.covariance: a matrix \[P, P\] must fit in 2048 MiB; got P = 20000"
    ):
        DiagonalPosterior(mean=large, shapes={}, deviation=large, precision=large).covariance()


def test_a_posterior_prints_in_a_line(rng):
    task, data = net(rng)
    for estimator in ("gram", "diag", "kfac", "block", "dense"):
        text = repr(weights_information(task, data, estimator=estimator, draws=0).posterior())
        assert text.endswith("Posterior(43 weights of 4 parameters)"), text
