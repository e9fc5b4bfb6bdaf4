"""Variances of the prior: given, by layer, by evidence, from the grid."""

import math

import pytest
import torch

from infotorch import ConfigError, NumericsError, ShapeError, weights_information
from infotorch.measures.weights.prior import GRID_SCALE, GRID_STEPS
from tests.measures.weights.golden_nets import case
from tests.measures.weights.truths import net


@pytest.mark.parametrize("estimator", ["gram", "diag", "kfac", "filter"])
@pytest.mark.parametrize("beta", [0.01, 1.0, 30.0])
def test_evidence_is_the_fixed_point(estimator, beta, rng):
    task, data = net(rng)
    got = weights_information(task, data, beta=beta, prior_var="evidence", estimator=estimator, draws=0)
    trace = float(got.posterior().covariance().trace())
    assert got.prior_var == pytest.approx((got.dist2 + trace) / got.P, rel=1e-9)
    assert got.prior == "evidence" and got.union_cost == 0
    for factor in (0.9, 1.1):
        other = weights_information(
            task, data, beta=beta, prior_var=factor * got.prior_var, estimator=estimator, draws=0
        )
        assert other.lagrangian(0.0) > got.lagrangian(0.0)
    again = weights_information(task, data, beta=beta, prior_var=got.prior_var, estimator=estimator, draws=0)
    assert (again.nats, again.prior) == (got.nats, "given")


def test_the_grid_pays_for_what_it_chose(rng):
    task, data = net(rng)
    got = weights_information(task, data, prior_var="grid", draws=0)
    j = round(-GRID_STEPS * math.log(got.prior_var / GRID_SCALE))
    assert got.prior_var == pytest.approx(GRID_SCALE * math.exp(-j / GRID_STEPS), rel=1e-12) and j >= 1
    assert got.union_cost == pytest.approx(2 * math.log(j) + math.log(math.pi**2 / 6))

    def cost(j):
        variance = GRID_SCALE * math.exp(-j / GRID_STEPS)
        other = weights_information(task, data, prior_var=variance, draws=0, per_layer=False)
        return other.lagrangian(0.0) + 2 * math.log(j)

    assert all(cost(j) <= cost(k) for k in (max(1, j - 1), j + 1, 1, 2 * j))


def test_a_layer_has_the_variance_of_the_longest_path_above_it():
    task, data, _ = case("cnn_groups_ce")
    one = weights_information(task, data, prior_var=0.3, estimator="diag", draws=0)
    for variances in ({"conv1": 0.3, "conv2": 0.3, "head": 0.3}, {"": 0.3}, {"": 0.3, "head": 0.3}):
        got = weights_information(task, data, prior_var=variances, estimator="diag", draws=0)
        assert got.nats == pytest.approx(one.nats, rel=1e-12)
        assert got.prior_var == variances
        assert got.per_layer == pytest.approx(one.per_layer, rel=1e-12)
    apart = weights_information(task, data, prior_var={"": 0.3, "head": 5.0}, estimator="diag", draws=0)
    assert apart.per_layer["conv1"] == pytest.approx(one.per_layer["conv1"], rel=1e-12)
    assert apart.per_layer["head"] != pytest.approx(one.per_layer["head"], rel=1e-3)


def test_prior_mean_is_flat_or_a_dict(rng):
    task, data = net(rng)
    initial = {name: torch.randn(p.shape, generator=rng) for name, p in task.model.state_dict().items()}
    flat = torch.cat([part.flatten() for part in initial.values()])
    means = (initial, flat, flat.numpy())
    by_name, by_place, as_array = (weights_information(task, data, prior_mean=mean, draws=0) for mean in means)
    assert by_name.nats == by_place.nats == as_array.nats
    w = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    assert by_name.dist2 == pytest.approx(float((w - flat.double()).square().sum()))


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, True, None])
def test_a_variance_is_positive_and_finite(value, rng):
    task, data = net(rng)
    words = rf"weights_information: prior_var must be > 0 and finite; got {value}. Pass the variance of the prior"
    with pytest.raises(ConfigError, match=words):
        weights_information(task, data, prior_var=value)
    with pytest.raises(ConfigError, match=r"prior_var\['0'\] must be > 0 and finite"):
        weights_information(task, data, prior_var={"0": value, "2": 1.0})


def test_misuse(rng):
    task, data = net(rng)
    for variance, words in (
        (
            "evidense",
            "where it is no number, must be one of 'evidence', 'grid'; got 'evidense'. Did you mean 'evidence'",
        ),
        ({"0": 1.0}, "prior_var must have every layer; got none for '2'"),
        ({"": 1.0, "3": 1.0}, "a layer of prior_var must be one of '0', '2'; got '3'"),
    ):
        with pytest.raises(ConfigError, match=words):
            weights_information(task, data, prior_var=variance)
    for mean, words in (
        (torch.zeros(42), r"prior_mean must be \[P\] with P = 43, or a dict of the parameters; got \[42\]"),
        (0.0, "prior_mean must be .* got float"),
        ({"0.weight": torch.zeros(5, 3)}, r"prior_mean\['0.weight'\] must be \[5, 4\]; got \[5, 3\]"),
        ({}, r"prior_mean\['0.weight'\] must be \[5, 4\]; got none"),
    ):
        with pytest.raises(ShapeError, match=words):
            weights_information(task, data, prior_mean=mean)
    with pytest.raises(NumericsError, match="prior_mean must be finite"):
        weights_information(task, data, prior_mean=torch.full((43,), math.nan))
    w = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    with pytest.raises(NumericsError, match="must have weights off the prior's mean and curvature; got the weights"):
        weights_information(task, data, prior_mean=w, prior_var="evidence")
