"""What a result says of itself, and what it refuses to be taken for."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn

import infotorch
from infotorch import ConfigError, NumericsError, ShapeError, Task, weights_information
from tests.measures.weights.truths import fisher_rows, net


def test_both_rises_are_printed_side_by_side(rng):
    task, data = net(rng)
    text = str(weights_information(task, data))
    assert re.search(r"rise of the summed loss under Q\*: predicted [\d.]+, measured -?[\d.e+]+ ± [\d.e+]+", text)
    assert "of labels missed" in text and "(estimate: local, no certificate)" in text
    assert "estimator gram" in text and "labels exact" in text
    without = repr(weights_information(task, data, draws=0, prior_var={"": 1.0}))
    assert re.search(r"predicted [\d.]+, measured not \(no draws\)", without) and "prior variance by layer" in without
    assert "nats more" in str(weights_information(task, data, draws=0, prior_var="grid"))


def test_the_quadratic_model_holds_for_a_squared_error_of_a_linear_net(rng):
    x = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    task = Task(nn.Linear(3, 2).double().eval(), loss="mse")
    y = x @ torch.linalg.lstsq(x, x[:, :2]).solution
    found = weights_information(task, (x, y), draws=400)
    assert found.quadratic_holds is True and "does not hold" not in str(found)
    assert weights_information(task, (x, y), draws=0).quadratic_holds is None


def test_a_model_that_is_not_quadratic_is_warned_of(rng):
    """Outputs that are saturated and right, whose curvature is next to none."""
    task, (x, _) = net(rng)
    last = [m for m in task.model.modules() if isinstance(m, nn.Linear)][-1]
    last.weight.data *= 100
    found = weights_information(task, (x, task.outputs(x).argmax(1)), prior_var=100.0)
    assert found.measured_rise > 10 * found.predicted_rise and found.quadratic_holds is False
    assert "  the quadratic model does not hold here: the two rises differ by more than a factor of two" in str(found)


@pytest.mark.parametrize(
    ("ratio", "spread", "holds"),
    [(1.0, 0.0, True), (1.99, 0.0, True), (2.01, 0.0, False), (2.3, 0.2, True), (2.3, 0.1, False), (0.51, 0.0, True),
     (0.49, 0.0, False), (0.3, 0.2, True), (0.3, 0.05, False), (-1.0, 0.0, False), (float("nan"), 0.0, False),
     (float("inf"), float("nan"), False), (55.0, 53.0, None), (7.0, 2.6, None), (1.5, 3.0, True), (-1.0, 3.0, None)],
)  # fmt: skip
def test_two_standard_errors_are_given(weighed, ratio, spread, holds):
    """All in units of the predicted rise."""
    found = weights_information(*weighed)
    unit = found.predicted_rise
    measured = dataclasses.replace(found.measured, rise=ratio * unit, stderr=spread * unit)
    assert dataclasses.replace(found, measured=measured).quadratic_holds is holds


def test_lagrangian_and_evidence(rng):
    task, (x, y) = net(rng)
    got = weights_information(task, (x, y), beta=0.3, prior_var=0.7, draws=0)
    assert got.predicted_rise == pytest.approx(0.15 * got.d_eff)
    assert got.lagrangian(got.loss) == pytest.approx(got.loss + got.predicted_rise + 0.3 * got.nats)
    rows = fisher_rows(task, x)
    logdet = float((torch.eye(43).double() + 0.7 * rows.mT @ rows).logdet())
    assert got.log_evidence == pytest.approx(-got.loss - got.dist2 / 1.4 - logdet / 2)
    losses = torch.nn.functional.cross_entropy(task.outputs(x).detach(), y, reduction="sum")
    assert got.loss == pytest.approx(float(losses))


def test_a_bound_takes_the_measured_risk_and_this_kl(rng):
    task, data = net(rng)
    got = weights_information(task, data, prior_var="grid")
    bound = got.pac_bayes(0.2, got.N, 0.1, "seeger")
    assert bound.value == infotorch.pac_bayes(0.2, got.nats + got.union_cost, got.N, 0.1, form="seeger").value
    assert got.pac_bayes(0.2).value == infotorch.pac_bayes(0.2, got.nats + got.union_cost, got.N, 0.05).value


@pytest.mark.parametrize("n", [1, 10**6, 0, "9", 12.5])
def test_a_bound_is_of_the_samples_that_were_weighed(n, rng):
    task, data = net(rng)
    got = weights_information(task, data)
    words = f"n of pac_bayes must be the {got.N} samples that this result is of; got {n!r}. Leave n out"
    with pytest.raises(ConfigError, match=re.escape(words)):
        got.pac_bayes(0.2, n)


@pytest.mark.parametrize("as_given", [np.float32, torch.tensor, np.asarray])
def test_numbers_of_numpy_and_torch_are_numbers(as_given, rng):
    task, data = net(rng)
    one = weights_information(task, data, beta=0.5, prior_var=0.25, draws=0)
    same = weights_information(task, data, beta=as_given(0.5), prior_var=as_given(0.25), draws=0)
    assert same.nats == one.nats and type(same.prior_var) is float
    by_layer = weights_information(task, data, beta=0.5, prior_var={"": as_given(0.25)}, draws=0)
    assert by_layer.nats == pytest.approx(one.nats, rel=1e-12)
    assert one.lagrangian(as_given(2.0)) == one.lagrangian(2.0)


def test_wrong_types_are_told(rng):
    task, data = net(rng)
    found = weights_information(task, data, draws=0)
    for call, words in (
        (lambda: weights_information(task, data, seed=None), "seed must be a whole number below 2**64; got None"),
        (lambda: weights_information(task, data, seed=1.5), "seed must be a whole number below 2**64; got 1.5"),
        (lambda: found.curve(0.5), "betas must be a list of numbers; got 0.5. Pass [0.5] for one"),
        (lambda: found.lagrangian(None), "loss must be a number; got NoneType"),
        (lambda: found.pac_bayes("a"), "risk must be a number; got str 'a'"),
        (lambda: found.pac_bayes(0.1, delta=[0.1]), "delta must be a number; got list"),
        (lambda: found.posterior().sample(1, seed="a"), "posterior.sample: seed must be a whole number"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            call()
    with pytest.raises(ShapeError, match=r"posterior\.times: V must be a tensor; got list"):
        found.posterior().times([1.0])


def test_a_bound_is_refused_without_a_measured_risk_or_a_prior_of_its_own(rng):
    task, data = net(rng)
    with pytest.raises(ConfigError, match="pac_bayes must have the measured risk of the drawn weights; got none"):
        weights_information(task, data).pac_bayes(None, None, 0.05, "catoni")
    with pytest.raises(ConfigError, match='prior of a bound must be fixed before the data; got prior_var="evidence"'):
        weights_information(task, data, prior_var="evidence").pac_bayes(0.5, None, 0.05, "catoni")


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan"), True, "1"])
def test_beta_is_positive_and_finite(beta, rng):
    task, data = net(rng)
    words = f"weights_information: beta must be > 0 and finite; got {beta!r}. Pass what a nat costs"
    with pytest.raises(ConfigError, match=re.escape(words)):
        weights_information(task, data, beta=beta)
    with pytest.raises(ConfigError, match=re.escape(words)):
        weights_information(task, data, draws=0).curve([1.0, beta])


@pytest.fixture
def weighed(rng):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    x = torch.randn(12, 4, generator=rng, dtype=torch.float64)
    return Task(model), (x, torch.randint(0, 3, (12,), generator=rng))


def test_a_curve_of_a_hessian_is_refused_where_a_call_is(weighed):
    """Its smallest eigenvalue may be below -beta / prior_var, and not below -(beta / prior_var)^2 or the like."""
    options = {"curvature": "hessian", "draws": 0}
    found = weights_information(*weighed, beta=100.0, **options)
    for beta in (50.0, 7.0, 2.0, 1.0, 0.5, 0.1, 0.01):
        try:
            want = weights_information(*weighed, beta=beta, **options).nats
        except NumericsError:
            with pytest.raises(NumericsError, match="must be positive definite"):
                found.curve([beta])
        else:
            assert float(found.curve([beta]).nats[0]) == pytest.approx(want, rel=1e-12)


def test_layers_and_samples_stay_those_of_the_weights_that_were_weighed(weighed):
    task, data = weighed
    found = weights_information(task, data, per_sample=True)
    layers, leverage = dict(found.per_layer), found.leverage.clone()
    with torch.no_grad():
        for p in task.model.parameters():
            p.mul_(3)
    assert found.per_layer == layers and torch.equal(found.leverage, leverage)


def test_layers_that_were_not_kept_are_computed_at_the_same_weights(weighed):
    task, data = weighed
    room = 8 * (2 * 36**2 + 24**2)
    found = weights_information(task, data, draws=0, per_layer=False, memory_limit=room)
    want = dict(weights_information(task, data, draws=0).per_layer)
    small = weights_information(task, data, draws=0, memory_limit=room)
    assert small.per_layer == pytest.approx(want, rel=1e-9)
    assert found.d_eff == pytest.approx(sum(want.values()), rel=1e-9)


def test_kernels_beyond_the_memory_limit_are_refused_and_not_chosen(weighed):
    limit = 8 * (2 * 36**2 + 24**2) - 1
    with pytest.raises(ConfigError, match=r'memory_limit must hold the kernels of all outputs for estimator="gram"'):
        weights_information(*weighed, estimator="gram", memory_limit=limit)
    assert weights_information(*weighed, memory_limit=limit).estimator == "kfac"


def test_a_bound_wants_an_exact_divergence(weighed):
    found = weights_information(*weighed, estimator="slq", probes=2, steps=4)
    with pytest.raises(ConfigError, match=r"the KL of a bound must be exact; got an estimate by 'slq'"):
        found.pac_bayes(0.1, 12, 0.05, "catoni")
    exact = weights_information(*weighed)
    assert exact.pac_bayes(exact.measured_risk, 12, 0.05, "catoni").value > exact.measured_risk
    with pytest.raises(ConfigError, match=r"must have the measured risk of the drawn weights; got none"):
        exact.pac_bayes()
