"""What a result says of itself, and what it refuses to be taken for."""

import re
import sys
import types

import pytest
import torch

from infotorch import ConfigError, weights_information
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


def test_lagrangian_and_evidence(rng):
    task, (x, y) = net(rng)
    got = weights_information(task, (x, y), beta=0.3, prior_var=0.7, draws=0)
    assert got.predicted_rise == pytest.approx(0.15 * got.d_eff) and got.effective_dimension == got.d_eff
    assert got.lagrangian(got.loss) == pytest.approx(got.loss + got.predicted_rise + 0.3 * got.nats)
    rows = fisher_rows(task, x)
    logdet = float((torch.eye(43).double() + 0.7 * rows.mT @ rows).logdet())
    assert got.log_evidence == pytest.approx(-got.loss - got.dist2 / 1.4 - logdet / 2)
    losses = torch.nn.functional.cross_entropy(task.outputs(x).detach(), y, reduction="sum")
    assert got.loss == pytest.approx(float(losses))


def test_a_bound_takes_the_measured_risk_and_this_kl(monkeypatch, rng):
    asked = []
    fake = types.ModuleType("infotorch.measures.pac_bayes")
    fake.pac_bayes = lambda *args, **options: asked.append((args, options))
    monkeypatch.setitem(sys.modules, "infotorch.measures.pac_bayes", fake)
    task, data = net(rng)
    got = weights_information(task, data, prior_var="grid")
    got.pac_bayes(got.measured_risk, 9, 0.1, "seeger")
    got.pac_bayes(got.measured_risk)
    kl = got.nats + got.union_cost
    assert asked == [
        ((got.measured_risk, kl, 9, 0.1), {"form": "seeger"}),
        ((got.measured_risk, kl, 9, 0.05), {"form": "catoni"}),
    ]


def test_a_bound_is_refused_without_a_measured_risk_or_a_prior_of_its_own(rng):
    task, data = net(rng)
    with pytest.raises(ConfigError, match="pac_bayes must have the measured risk of the drawn weights; got none"):
        weights_information(task, data).pac_bayes(None, 9, 0.05, "catoni")
    with pytest.raises(ConfigError, match='prior of a bound must be fixed before the data; got prior_var="evidence"'):
        weights_information(task, data, prior_var="evidence").pac_bayes(0.5, 9, 0.05, "catoni")


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan"), True, "1"])
def test_beta_is_positive_and_finite(beta, rng):
    task, data = net(rng)
    words = f"weights_information: beta must be > 0 and finite; got {beta!r}. Pass what a nat costs"
    with pytest.raises(ConfigError, match=re.escape(words)):
        weights_information(task, data, beta=beta)
    with pytest.raises(ConfigError, match=re.escape(words)):
        weights_information(task, data, draws=0).curve([1.0, beta])
