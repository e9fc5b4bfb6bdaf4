import math

import pytest
import torch
from torch import nn

from infotorch import Task, weights_information
from infotorch.errors import ConfigError, NotSupported
from infotorch.measures.weights import problem as of_problem


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    return Task(model), (torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,)))


def test_probes_cover_the_exact_numbers(problem):
    """Two standard errors of 8 probes should cover the truth for nearly all of ten seeds."""
    exact = weights_information(*problem, estimator="dense", draws=0)
    covered = 0
    for seed in range(10):
        found = weights_information(*problem, estimator="slq", probes=8, steps=20, seed=seed)
        covered += abs(found.nats - exact.nats) <= 2 * found.stderr
        assert found.quadrature_error < 1e-8
    assert covered >= 8


def test_one_run_serves_every_beta(problem):
    betas = [0.1, 1.0, 7.0]
    found = weights_information(*problem, estimator="slq", probes=2, steps=20)
    curve = found.curve(betas)
    for place, beta in enumerate(betas):
        again = weights_information(*problem, beta=beta, estimator="slq", probes=2, steps=20)
        assert again.nats == pytest.approx(float(curve.nats[place]), rel=1e-12)


def test_steps_are_doubled_till_they_change_less_than_probes_differ(problem):
    found = weights_information(*problem, beta=0.01, estimator="slq", steps="auto", probes=4)
    assert found.quadrature_error <= found.stderr
    with pytest.raises(ConfigError, match=r'steps="auto" must know the prior\'s variance; got a rule for it'):
        weights_information(*problem, prior_var="evidence", estimator="slq", steps="auto")


def test_there_is_no_posterior(problem):
    found = weights_information(*problem, estimator="slq", probes=2, steps=5)
    assert found.measured_rise is None and found.leverage is None and found.per_layer is None
    assert "no posterior to draw from" in repr(found) and "±" in repr(found)
    with pytest.raises(NotSupported, match=r'the estimator must have a posterior to draw .*; got "slq"'):
        found.posterior()


def test_no_curvature_is_no_information():
    model = nn.Linear(3, 2, bias=False).double().eval()
    with torch.no_grad():
        model.weight.zero_()
    data = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    found = weights_information(Task(model), data, estimator="slq", probes=2, steps=4)
    assert found.nats == found.logdet == found.d_eff == 0
    assert math.isclose(found.stderr, 0)


def test_one_class_has_no_curvature():
    data = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ConfigError, match="the loss must have curvature in its outputs; got one class"):
        weights_information(Task(nn.Linear(3, 1).eval()), data, estimator="slq", probes=2, steps=4)


def test_samples_are_taken_some_at_a_time(problem, monkeypatch):
    whole = weights_information(*problem, estimator="slq", probes=2, steps=20)
    monkeypatch.setattr(of_problem, "FORWARD_SIZE", 3)
    parts = weights_information(*problem, estimator="slq", probes=2, steps=20)
    assert parts.nats == pytest.approx(whole.nats, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "sketch"}, r'labels must be "exact" for estimator="slq"; got \'sketch\''),
        ({"prior_var": {"0": 1.0, "2": 2.0}}, r'prior_var must be one number for estimator="slq"; got one a layer'),
        ({"probes": 1}, r"probes must be a whole number of at least 2; got 1"),
        ({"steps": 1}, r"steps must be a whole number of at least 2; got 1"),
    ],
)
def test_what_it_cannot_do_is_refused(problem, options, told):
    with pytest.raises(ConfigError, match=told):
        weights_information(*problem, estimator="slq", **options)
