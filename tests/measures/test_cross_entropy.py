"""Goldens, Newton steps in parameter space, and refusals of the Gauss-Newton model."""

import math

import pytest
import torch

from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures.cross_entropy import cross_entropy_ggn, cross_entropy_unique_information, multinomial_factor
from tests.laws import assert_golden, assert_same
from tests.measures.golden import kernel, load


@pytest.fixture
def case():
    return load("m_cross_entropy_ggn")


def test_golden_scores(case):
    """In functions: the KL divergence of predictions to second order."""
    got = cross_entropy_unique_information(
        kernel(case["J"]),
        case["logits"],
        case["label"],
        kernel(case["J"], case["J_test"]),
        case["logits_test"],
        ridge=float(case["lam"]),
    )
    assert_golden(got.weights[0], case["si_weight"])
    assert_golden(got.functions[0], case["si_kl_quadratic"])


def test_golden_ridge_at_the_initial_weights(case):
    moved = case["J"] @ case["w_minus_w0"]
    got = cross_entropy_unique_information(
        kernel(case["J"]), case["logits"], case["label"], ridge=float(case["lam"]), displacement=moved
    )
    assert_golden(got.weights[0], case["centred_si_weight"])


def test_the_newton_step_is_measured(case):
    shift = case["w_minus_w0"]
    ggn = cross_entropy_ggn(kernel(case["J"]), case["logits"], case["label"], displacement=case["J"] @ shift)
    got = ggn.relative_newton_step(ridge=float(case["lam"]), distance=float(shift.norm()))
    assert abs(got - float((case["centred_d"] - shift).norm() / shift.norm())) < 1e-9


def test_the_newton_step_vanishes_at_an_optimum(rng):
    """Softmax regression trained from w0 = 0 by Newton's method in parameters."""
    J, y, ridge = torch.randn(15, 3, 8, generator=rng).double(), torch.randint(3, (15,), generator=rng), 0.5
    w = torch.zeros(8).double()
    for _ in range(30):
        p = (J @ w).softmax(1)
        g = torch.einsum("ncp,nc->p", J, p - torch.nn.functional.one_hot(y, 3)) + ridge * w
        S = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        w = w - torch.linalg.solve(torch.einsum("ncp,ncd,ndq->pq", J, S, J) + ridge * torch.eye(8), g)
    ggn = cross_entropy_ggn(kernel(J), J @ w, y, displacement=J @ w)
    assert ggn.relative_newton_step(ridge=ridge, distance=float(w.norm())) < 1e-6


def test_predictions_return_as_logits(case, rng):
    """R' of what ``logits`` gives is the prediction, and its softmax that of the logits' true change."""
    ggn = cross_entropy_ggn(kernel(case["J"]), case["logits"], case["label"])
    change = torch.randn(16, 3, generator=rng).double()
    prediction = torch.einsum("ncd,nc->nd", ggn.factor, change)
    assert_same(ggn.logits(prediction), change - change.mean(1, keepdim=True))


@pytest.mark.parametrize("C", [2, 3, 10])
def test_the_factor_is_that_of_the_hessian(C, rng):
    p = (3 * torch.randn(20, C, generator=rng).double()).softmax(1)
    R = multinomial_factor(p)
    assert_same(R @ R.mT, torch.diag_embed(p) - p[:, :, None] * p[:, None])
    assert R.sum(1).abs().max() < 1e-15


def test_sure_predictions_lose_no_digits():
    """Two classes, logits 0 and x: K~ = K p q and r~ = -(p - 1) / sqrt(p q) = sqrt(q / p)."""
    x = torch.tensor([40.0, 300.0]).double()
    logits = torch.stack([torch.zeros(2).double(), x], dim=1)
    K = torch.kron(torch.eye(2), torch.tensor([[0.0, 0.0], [0.0, 1.0]])).double()
    ggn = cross_entropy_ggn(K, logits, torch.tensor([1, 1]))
    torch.testing.assert_close(ggn.kernel.diagonal(), (-x).exp(), rtol=1e-14, atol=0)
    torch.testing.assert_close(ggn.residual[:, 0].abs(), (-x / 2).exp(), rtol=1e-14, atol=0)


def refused(case, error, message, **changes):
    options = {"ridge": 1.0, "K_test": None, "logits_test": None, "labels": case["label"], "logits": case["logits"]}
    with pytest.raises(error, match=message):
        cross_entropy_unique_information(kernel(case["J"]), **{**options, **changes})


@pytest.mark.parametrize("ridge", [0.0, -1.0, math.inf, math.nan])
def test_no_ridge_is_refused(case, ridge):
    refused(case, ConfigError, f"ridge must be finite and above 0; got {ridge}. Give N times the l2", ridge=ridge)


def test_bad_input_is_refused_in_words(case):
    label, logits = case["label"], case["logits"]
    wrong = label.clone()
    wrong[5] = 3
    refused(case, DataError, "labels must be from 0 to 2; got 3 for sample 5", labels=wrong)
    refused(case, ShapeError, r"labels must be integer classes \[16\]; got float64 \[16\]", labels=label.double())
    refused(case, ShapeError, r"labels must be integer classes \[16\]; got int64 \[15\]", labels=label[:-1])
    refused(case, DataError, r"logits must be finite; got nan in row 0", logits=logits * math.nan)
    sure = logits.clone()
    sure[7, 0] = 2000.0
    refused(case, NumericsError, "must be above 0 in float64; got 0.0 for sample 7 of logits", logits=sure)
    refused(
        case, ShapeError, r"displacement must have the shape of logits, \(16, 3\)", displacement=torch.zeros(3).double()
    )
    K_test = kernel(case["J"], case["J_test"])
    refused(case, ConfigError, "K_test and logits_test belong together", K_test=K_test)
    refused(case, ConfigError, "K_test and logits_test belong together", logits_test=case["logits_test"])
    refused(
        case, ShapeError, r"logits_test must be finite \[5, 3\]", K_test=K_test, logits_test=case["logits_test"][:4]
    )
    with pytest.raises(ShapeError, match="logits must have at least 2 classes; got 1"):
        cross_entropy_ggn(torch.eye(3).double(), torch.zeros(3, 1).double(), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ConfigError, match=r"needs J\(w - w0\) and .* got no displacement"):
        cross_entropy_ggn(kernel(case["J"]), logits, label).relative_newton_step(ridge=1.0, distance=1.0)
