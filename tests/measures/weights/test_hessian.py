"""Hessians by plain double backward."""

import pytest
import torch

from infotorch import ConfigError, NumericsError, Task, weights_information
from infotorch.measures.weights.hessian import hessian
from infotorch.measures.weights.problem import Problem
from tests.measures.weights.golden_nets import CASES, case
from tests.measures.weights.truths import divergence, net


def problem(task, data, **options):
    ones = torch.ones(sum(shape.numel() for shape in task.shapes.values()), dtype=torch.float64)
    settings = {"labels": "exact", "passes": 1, "seed": 0, "per_layer": False, "memory_limit": None, "fallback": None}
    return Problem(task=task, data=data, relative=ones, **settings | options)


@pytest.mark.parametrize("name", CASES)
def test_golden_hessian(name):
    """That of the attention net too, whose norm torch.func differentiates wrongly."""
    task, data, values = case(name)
    torch.testing.assert_close(hessian(problem(task, data)), values["hessian"], rtol=1e-8, atol=1e-10)


def test_information_is_that_of_the_hessian_where_it_is_definite(rng):
    """An eigenvalue may be negative as long as the prior's precision exceeds it."""
    task, data, values = case("mlp_tanh_ce")
    H = values["hessian"]
    lowest = float(torch.linalg.eigvalsh(H)[0])
    assert lowest < 0
    variance = 0.9 / -lowest
    got = weights_information(task, data, prior_var=variance, prior_mean=values["w0"], curvature="hessian")
    Sigma = torch.linalg.inv(H + torch.eye(len(H)).double() / variance)
    torch.testing.assert_close(got.posterior().covariance(), Sigma, rtol=1e-8, atol=1e-10)
    assert got.nats == pytest.approx(divergence(Sigma, values["w"] - values["w0"], variance), rel=1e-9)
    assert (got.estimator, got.curvature, got.labels) == ("dense", "hessian", "exact")


def test_an_indefinite_hessian_is_refused(rng):
    task, data, values = case("mlp_tanh_ce")
    lowest = float(torch.linalg.eigvalsh(values["hessian"])[0])
    words = r"Hessian \+ beta/prior_var must be positive definite; got smallest eigenvalue -[\d.e-]+\. Use curvature="
    with pytest.raises(NumericsError, match=words):
        weights_information(task, data, prior_var=1.1 / -lowest, curvature="hessian")
    got = weights_information(task, data, prior_var=0.9 / -lowest, curvature="hessian", draws=0)
    with pytest.raises(NumericsError, match=words):
        got.curve([1.0, 0.5])


def test_a_loss_of_the_callers_has_a_hessian(rng):
    task, (x, _) = net(rng)
    own = Task(task.model, loss=lambda f, y: f.square().sum(1) / 2)
    targets = torch.zeros(len(x), 3, dtype=torch.float64)
    mse = Task(task.model, loss="mse")
    torch.testing.assert_close(hessian(problem(own, (x, targets))), hessian(problem(mse, (x, targets))))


def test_a_loss_that_is_linear_has_none(rng):
    _, (x, y) = net(rng)
    linear = Task(torch.nn.Linear(4, 1).double().eval(), loss=lambda f, y: f[:, 0])
    assert not hessian(problem(linear, (x, y))).any()


def test_misuse(rng):
    task, data = net(rng)
    for options, words in (
        ({"estimator": "diag"}, r"got estimator='diag'. Leave estimator out"),
        ({"labels": "sketch"}, r"got labels='sketch'. Leave labels out"),
        ({"prior_var": "evidence"}, r"prior_var must be a number for curvature=\"hessian\""),
        ({"memory_limit": 1000}, r"memory_limit must hold the Hessian, P = 43"),
    ):
        with pytest.raises(ConfigError, match=words):
            weights_information(task, data, curvature="hessian", **options)
