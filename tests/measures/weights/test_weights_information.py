"""Information in the weights against golden values, plain truths in float64, and what holds by definition."""

import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import NotSupported, Task, weights_information
from tests.measures.weights.golden_nets import CASES, case, rows
from tests.measures.weights.truths import net

module = importlib.import_module("infotorch.measures.weights.weights_information")

COLUMNS = {"full": ("gram", "dense"), "diag": ("diag",), "block": ("block",), "kfac": ("kfac",)}
RTOL = {torch.float64: 1e-10, torch.float32: 1e-3}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", COLUMNS)
def test_golden_information(name, kind, dtype):
    task, data, values = case(name, dtype)
    for estimator in COLUMNS[kind]:
        for row in rows(values):
            got = weights_information(
                task,
                data,
                beta=row["beta"],
                prior_var=row["lam2"],
                prior_mean=values["w0"],
                estimator=estimator,
                draws=0,
                per_layer=False,
            )
            if kind != "kfac" or not name.startswith("emb"):  # whose golden leaves embedding and norm out
                assert got.logdet == pytest.approx(row[f"logdet_{kind}"], rel=RTOL[dtype])
                assert got.d_eff == pytest.approx(row[f"deff_{kind}"], rel=RTOL[dtype])
            if kind != "kfac":
                assert got.nats == pytest.approx(row[f"kl_{kind}"], rel=RTOL[dtype])
            if kind == "full":
                assert got.learning_capacity == pytest.approx(row["learning_capacity"], rel=RTOL[dtype])


def test_golden_kfac_of_an_attention_net():
    """Whose golden has the factors of linear layers alone."""
    task, data, values = case("emb_ln_attn_ce")
    linear = Task(task.model, params=[f"{name}.*" for name in ("q", "k", "v", "o", "head")])
    whole = information(task, data, beta=0.3, estimator="kfac")
    rest = information(Task(task.model, params=["emb.*", "norm.*"]), data, beta=0.3, estimator="diag")
    for row in rows(values):
        got = information(linear, data, beta=row["beta"], prior_var=row["lam2"], estimator="kfac")
        assert got.logdet == pytest.approx(row["logdet_kfac"], rel=1e-10)
        assert got.d_eff == pytest.approx(row["deff_kfac"], rel=1e-10)
    assert whole.logdet == pytest.approx(rest.logdet + information(linear, data, beta=0.3, estimator="kfac").logdet)


def information(task, data, **options):
    return weights_information(task, data, **{"draws": 0} | options)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    beta=st.floats(1e-3, 1e2),
    variance=st.floats(1e-2, 1e2),
    loss=st.sampled_from(["cross_entropy", "mse", "binary_cross_entropy"]),
    N=st.integers(1, 12),
)
def test_families_are_ordered(seed, beta, variance, loss, N):
    """Log-determinants: full <= block <= diag. C_beta: full least, diag <= filter. d_eff: at most min(P, M)."""
    C = 1 if loss == "binary_cross_entropy" else 3
    task, data = net(torch.Generator().manual_seed(seed), loss=loss, N=N, C=C)
    found = {
        name: information(task, data, beta=beta, prior_var=variance, estimator=name)
        for name in ("gram", "dense", "block", "diag", "filter")
    }
    gram, dense, block, diag = (found[name] for name in ("gram", "dense", "block", "diag"))
    slack = 1 + 1e-9
    assert gram.logdet <= block.logdet * slack and block.logdet <= diag.logdet * slack
    assert gram.lagrangian(0.0) <= block.lagrangian(0.0) * slack <= diag.lagrangian(0.0) * slack**2
    assert diag.lagrangian(0.0) <= found["filter"].lagrangian(0.0) * slack
    for what in ("nats", "logdet", "d_eff", "learning_capacity", "log_evidence", "predicted_rise"):
        assert getattr(gram, what) == pytest.approx(getattr(dense, what), rel=1e-8)
    rows = N * {"cross_entropy": 2, "mse": 3, "binary_cross_entropy": 1}[loss]
    assert 0 <= gram.d_eff <= min(gram.P, rows)
    assert all(one.nats >= 0.5 * one.dist2 / variance for one in found.values())


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_a_curve_is_separate_calls(estimator, rng):
    task, data = net(rng)
    betas = [0.01, 0.3, 1.0, 50.0]
    curve = information(task, data, beta=3.0, prior_var=0.7, estimator=estimator).curve(betas)
    for i, beta in enumerate(betas):
        one = information(task, data, beta=beta, prior_var=0.7, estimator=estimator)
        assert float(curve.nats[i]) == pytest.approx(one.nats, rel=1e-13)
        assert float(curve.logdet[i]) == pytest.approx(one.logdet, rel=1e-13)
        assert float(curve.d_eff[i]) == pytest.approx(one.d_eff, rel=1e-13)
    assert curve.nats.diff().max() < 0


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_information_goes_to_zero_with_beta_at_the_prior_mean(estimator, rng):
    task, data = net(rng)
    w = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    curve = information(task, data, prior_mean=w, estimator=estimator).curve([1.0, 1e3, 1e6, 1e9])
    assert 0 < curve.nats[3] < 1e-13 and curve.nats.diff().max() < 0


@pytest.mark.parametrize("estimator", ["diag", "filter", "block", "kfac"])
def test_layers_add_up(estimator, rng):
    task, data = net(rng)
    got = information(task, data, prior_var={"0": 0.2, "2": 3.0}, estimator=estimator)
    assert list(got.per_layer) == ["0", "2"]
    assert sum(got.per_layer.values()) == pytest.approx(got.nats, rel=1e-12)
    alone = Task(task.model, loss=task.loss, params=["2.*"])
    assert information(alone, data, prior_var=3.0, estimator=estimator).nats == pytest.approx(got.per_layer["2"])


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_samples_add_and_their_order_does_not_matter(estimator, rng):
    task, (x, y) = net(rng)
    whole = information(task, (x, y), estimator=estimator)
    order = torch.randperm(len(x), generator=rng)
    assert information(task, (x[order], y[order]), estimator=estimator).nats == pytest.approx(whole.nats, rel=1e-12)
    split = DataLoader(TensorDataset(x, y), batch_size=4)
    assert information(task, split, estimator=estimator).nats == pytest.approx(whole.nats, rel=1e-11)
    # Twice the samples at twice beta is the same curvature relative to the prior.
    twice = information(task, (x.repeat(2, 1), y.repeat(2)), estimator=estimator, beta=2.0)
    assert twice.nats == pytest.approx(whole.nats, rel=1e-10)


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_dead_units_and_unread_layers_hold_nothing(estimator, rng):
    """F = 0 at w = w0 is 0 nats; a weight that no output depends on keeps the prior's variance."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    data = torch.randn(6, 3, dtype=torch.float64, generator=rng), torch.randint(2, (6,), generator=rng)
    w = torch.cat([p.detach().flatten() for p in model.parameters()])
    task = Task(model, params=["0.*"])
    got = weights_information(task, data, prior_mean=w[:16], estimator=estimator)
    assert got.nats == got.logdet == got.d_eff == got.predicted_rise == 0
    assert got.measured_rise == pytest.approx(0, abs=20)  # the unit may come alive under a draw
    torch.testing.assert_close(got.posterior().covariance(), torch.eye(16).double())
    whole = information(Task(model), data, prior_mean=w, prior_var=0.5, estimator=estimator)
    variances = whole.posterior().covariance().diagonal()
    torch.testing.assert_close(variances[:16], torch.full((16,), 0.5, dtype=torch.float64))


def test_frozen_parameters_are_no_weights(rng):
    task, data = net(rng)
    task.model[0].requires_grad_(False)
    got = information(Task(task.model), data)
    assert got.P == 18 and list(got.per_layer) == ["2"]


def test_tied_weights_are_squared_after_they_are_added():
    layer = nn.Linear(1, 1, bias=False).double().eval()
    with torch.no_grad():
        layer.weight.fill_(3.0)
    task = Task(nn.Sequential(layer, layer).eval(), loss="mse")  # f = w^2 x, f' = 2 w x = 12
    data = torch.full((1, 1), 2.0, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for estimator in ("gram", "dense", "block", "diag", "filter"):
        assert information(task, data, estimator=estimator).logdet == pytest.approx(math.log(1 + 144))


def test_estimator_by_size_and_layers(monkeypatch, rng):
    task, data = net(rng)
    assert information(task, data).estimator == "gram"
    monkeypatch.setattr(module, "GRAM_ROWS", 17)
    got = information(task, data)
    assert got.estimator == "kfac" and got.nats == information(task, data, estimator="kfac").nats
    assert information(task, data, labels="sketch").estimator == "gram"  # nine rows
    with_norm = nn.Sequential(task.model, nn.LayerNorm(3)).double().eval()
    assert information(Task(with_norm), data).estimator == "diag"
    assert information(Task(with_norm, params=["0.*"]), data).estimator == "kfac"
    mse, targets = net(rng, loss="mse", N=5)
    assert information(mse, targets).estimator == "gram"
    assert information(mse, (targets[0].repeat(2, 1), targets[1].repeat(2, 1))).estimator == "kfac"  # N C = 30


@pytest.mark.parametrize("estimator", ["gram", "diag"])
@pytest.mark.parametrize("labels", ["sketch", "sampled"])
def test_drawn_labels_are_unbiased(labels, estimator, rng):
    """The trace of F, where s is so small that d_eff is s tr F: the mean over 60 seeds, within 4 standard errors."""
    task, data = net(rng)

    def trace(seed, **options):
        return information(task, data, beta=1e9, estimator=estimator, seed=seed, per_layer=False, **options).d_eff

    draws = torch.tensor([trace(seed, labels=labels) for seed in range(60)])
    assert abs(draws.mean() - trace(0)) < 4 * draws.std() / 60**0.5
    many = information(task, data, estimator="diag", labels=labels, passes=300).nats
    assert many == pytest.approx(information(task, data, estimator="diag").nats, rel=0.05)
    assert information(task, data, labels=labels).labels == labels


def test_drawn_labels_are_the_same_for_every_estimator(rng):
    task, data = net(rng)
    for labels in ("sketch", "sampled"):
        gram, dense = (
            information(task, data, labels=labels, passes=3, estimator=name, seed=5) for name in ("gram", "dense")
        )
        assert gram.nats == pytest.approx(dense.nats, rel=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_empirical_curvature_is_that_of_the_labels(name):
    task, data, values = case(name)
    truth = 0.5 * float((torch.eye(len(values["w"])).double() + values["empirical_fisher"]).logdet())
    for options in ({"curvature": "empirical"}, {"labels": "empirical"}):
        for estimator in ("gram", "dense"):
            got = information(task, data, estimator=estimator, **options)
            assert got.logdet / 2 == pytest.approx(truth, rel=1e-9)
            assert (got.curvature, got.labels, got.kind) == ("empirical", "empirical", "diagnostic")


def test_a_caller_s_loss_has_an_empirical_curvature_alone(rng):
    task, (x, y) = net(rng)
    own = Task(task.model, loss=lambda f, y: nn.functional.cross_entropy(f, y, reduction="none"))
    got, truth = (information(one, (x, y), labels="empirical") for one in (own, task))
    assert got.nats == pytest.approx(truth.nats, rel=1e-12)
    with pytest.raises(NotSupported, match="the loss's output Hessian must be known; got the function <lambda>"):
        information(own, (x, y))


def test_classes_without_samples_are_classes(rng):
    """The Fisher matrix does not depend on the labels, whichever are there."""
    task, (x, y) = net(rng)
    one_class = information(task, (x, torch.zeros_like(y)))
    assert one_class.nats == information(task, (x, y)).nats and one_class.loss != information(task, (x, y)).loss


def test_every_position_counts(rng):
    """Outputs [N, T, C]: rows for each position, none where the label is left out."""
    model = nn.Linear(3, 2).double().eval()
    x = torch.randn(4, 2, 3, dtype=torch.float64, generator=rng)
    y = torch.randint(2, (4, 2), generator=rng)
    flat = information(Task(model), (x.flatten(0, 1), y.flatten()))
    for estimator in ("gram", "dense", "diag"):
        got = information(Task(model), (x, y), estimator=estimator, draws=3)
        truth = information(Task(model), (x.flatten(0, 1), y.flatten()), estimator=estimator, draws=3)
        assert got.nats == pytest.approx(truth.nats, rel=1e-10)
        assert got.measured_risk is not None
    assert information(Task(model), (x, y)).nats == pytest.approx(flat.nats, rel=1e-10)
    y[0, 1] = -100
    kept = torch.tensor([0, 2, 3, 4, 5, 6, 7])
    truth = information(Task(model), (x.flatten(0, 1)[kept], y.flatten()[kept]))
    assert information(Task(model), (x, y)).nats == pytest.approx(truth.nats, rel=1e-10)
