"""The measured rise of the loss, and the model that is left as it was."""

import pytest
import torch
from torch import nn

from infotorch import Task, weights_information
from tests.measures.weights.truths import net, quadratic


@pytest.mark.parametrize("estimator", ["gram", "dense", "block", "kfac", "diag", "filter"])
def test_on_a_quadratic_the_rise_is_that_of_the_covariance(estimator, rng):
    """tr(H Sigma) / 2, which for full, block and diag is what the quadratic model predicts."""
    A = torch.randn(5, 5, dtype=torch.float64, generator=rng)
    task, data = quadratic(A @ A.mT, torch.randn(5, dtype=torch.float64, generator=rng))
    got = weights_information(task, data, prior_var=0.5, estimator=estimator, draws=4000)
    truth = 0.5 * float((A @ A.mT * got.posterior().covariance()).sum())
    assert abs(got.measured_rise - truth) < 4.5 * got.measured.stderr
    if estimator not in ("kfac", "filter"):
        assert truth == pytest.approx(got.predicted_rise, rel=1e-9)
    assert got.measured_risk is None  # targets are no classes


def test_risk_is_the_error_of_the_drawn_weights(rng):
    task, (x, y) = net(rng)
    got = weights_information(task, (x, y), beta=0.5, draws=6, seed=2)
    losses, risks = [], []
    for w in got.posterior().sample(6, seed=2):
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        nn.utils.vector_to_parameters(w, model.parameters())
        f = model(x).detach()
        losses.append(nn.functional.cross_entropy(f, y, reduction="sum"))
        risks.append((f.argmax(1) != y).double().mean())
    assert got.measured_rise == pytest.approx(float(torch.stack(losses).mean()) - got.loss, rel=1e-10)
    assert got.measured_risk == pytest.approx(float(torch.stack(risks).mean()), rel=1e-12)
    assert got.measured.stderr == pytest.approx(float(torch.stack(losses).std()) / 6**0.5)


def test_risk_of_one_logit(rng):
    task, (x, y) = net(rng, loss="binary_cross_entropy", C=1)
    got = weights_information(task, (x, y), beta=1e-9, prior_var=1e-9, draws=2)
    assert got.measured_risk == pytest.approx(float(((task.outputs(x)[:, 0] > 0).double() != y).double().mean()))
    soft = weights_information(task, (x, y * 0.5 + 0.2), beta=1e-9, prior_var=1e-9, draws=2)  # 0.2 and 0.7
    assert soft.measured_risk == got.measured_risk


def test_the_model_is_left_as_it_was(rng):
    task, data = net(rng)
    before = [(p, p.data_ptr(), p.detach().clone(), p._version) for p in task.model.parameters()]
    for options in ({"draws": 3}, {"draws": 3, "estimator": "diag"}, {"curvature": "hessian", "prior_var": 1e-3}):
        weights_information(task, data, per_sample=True, **options)
    for p, (same, place, values, version) in zip(task.model.parameters(), before, strict=True):
        assert p is same and p.data_ptr() == place and p._version == version and p.grad is None
        assert torch.equal(p, values) and p.requires_grad


def test_the_model_is_left_as_it_was_after_an_error(rng):
    calls = []

    def failing(model, x):
        calls.append(1)
        if len(calls) > failing.after:
            raise KeyError("broken")
        return model(x)

    whole, data = net(rng)
    task = Task(whole.model, forward=failing)
    failing.after = 10**6
    for _ in range(2):  # what is found once for each model is known from the second time on
        calls.clear()
        weights_information(task, data, estimator="gram", draws=2)
    total = len(calls)
    before = [(p.data_ptr(), p.detach().clone()) for p in task.model.parameters()]
    for failing.after in range(total):
        calls.clear()
        with pytest.raises(KeyError):
            weights_information(task, data, estimator="gram", draws=2)
        for p, (place, values) in zip(task.model.parameters(), before, strict=True):
            assert p.data_ptr() == place and torch.equal(p, values)


def test_a_single_draw_has_no_spread_and_none_no_rise(rng):
    task, data = net(rng)
    assert weights_information(task, data, draws=1).measured.stderr is None
    got = weights_information(task, data, draws=0)
    assert (got.measured, got.measured_rise, got.measured_risk) == (None, None, None)
