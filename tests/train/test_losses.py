"""Closed forms, limits and refusals of the losses for comparison."""

import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.train import losses
from infotorch.train.noise import transition_matrix
from tests.laws import assert_same


@pytest.fixture
def batch(rng):
    return torch.randn(12, 4, generator=rng, dtype=torch.float64), torch.randint(4, (12,), generator=rng)


def test_mae_is_the_distance_of_probabilities(batch):
    logits, y = batch
    t = F.one_hot(y, 4).double()
    want = (logits.softmax(1) - t).abs().sum(1)
    assert_same(losses.mae(logits, y, reduction="none"), want)
    assert_same(losses.mae(logits, t, reduction="none"), want)
    soft = 0.9 * t + 0.025
    assert_same(losses.mae(logits, soft), (logits.softmax(1) - soft).abs().sum(1).mean())


def test_mae_keeps_its_digits_where_the_label_is_certain():
    logits = torch.tensor([[50.0, 0.0]], dtype=torch.float64)
    assert losses.mae(logits, torch.tensor([0])).item() == pytest.approx(2 * math.exp(-50), rel=1e-12)


def test_gce_lies_between_cross_entropy_and_mae(batch):
    logits, y = batch
    assert_same(losses.gce(logits, y, q=1.0), losses.mae(logits, y) / 2)
    assert losses.gce(logits, y, q=1e-9).item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-7)
    p = logits.softmax(1)[range(12), y]
    assert_same(losses.gce(logits, y, reduction="none"), (1 - p**0.7) / 0.7)


def test_forward_correction_by_the_identity_is_cross_entropy(batch):
    logits, y = batch
    assert_same(losses.forward_correction(logits, y, T=torch.eye(4)), F.cross_entropy(logits, y))


def test_forward_correction_is_the_noisy_label_s_likelihood(batch):
    logits, y = batch
    T = transition_matrix("pair", 4, 0.3)
    want = -(logits.softmax(1) @ T)[range(12), y].log()
    assert_same(losses.forward_correction(logits, y, T=T, reduction="none"), want)


def test_forward_correction_is_least_at_the_clean_posterior():
    """Under exact T the gradient of the expected loss vanishes at the clean posterior (the theorem of the source)."""
    T, clean = transition_matrix("uniform", 3, 0.4), torch.tensor([0.7, 0.2, 0.1]).double()
    logits = clean.log().clone().requires_grad_()
    rows = losses.forward_correction(logits.expand(3, 3), torch.arange(3), T=T, reduction="none")
    (gradient,) = torch.autograd.grad(rows @ (clean @ T), logits)
    assert gradient.abs().max() < 1e-15


def test_dmi_by_hand():
    """Two samples of each class, all certain: the joint is 2 I, its determinant 4."""
    logits, y = torch.tensor([[0.0, 99], [99, 0], [99, 0], [0, 99]]).double(), torch.tensor([1, 0, 0, 1])
    assert losses.dmi(logits, y).item() == pytest.approx(-math.log(4.001), rel=1e-12)
    assert losses.dmi(logits, 1 - y).item() == pytest.approx(-math.log(4.001), rel=1e-12)  # it knows no names
    assert losses.dmi(torch.zeros(4, 2).double(), y).item() == pytest.approx(-math.log(0.001), rel=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        losses.mae,
        losses.gce,
        lambda z, y: losses.forward_correction(z, y, T=transition_matrix("uniform", 4, 0.2)),
        losses.dmi,
    ],
    ids=["mae", "gce", "forward_correction", "dmi"],
)
def test_gradients(loss, batch):
    logits, y = batch
    assert torch.autograd.gradcheck(lambda z: loss(z, y), logits.requires_grad_())


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 1e4, 0.0]], requires_grad=True)
    for y in (torch.tensor([0, 1]), torch.tensor([2, 0])):
        for loss in (losses.mae, losses.gce):
            value = loss(logits, y)
            assert value.isfinite() and torch.autograd.grad(value, logits)[0].isfinite().all()


@pytest.mark.parametrize("loss", [losses.mae, losses.gce])
def test_reductions(loss, batch):
    rows = loss(*batch, reduction="none")
    assert_same(loss(*batch), rows.mean())
    assert_same(loss(*batch, reduction="sum"), rows.sum())


Z, Y = torch.zeros(2, 3), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.mae(Z, Y, reduction="men"), ConfigError, "reduction must be one of 'mean', 'sum', 'none'"),
        (
            lambda: losses.mae(Z[0], Y),
            ShapeError,
            r"mae: logits must be floating point \[N, C\]; got torch.float32 \[3\]",
        ),
        (lambda: losses.mae(Z.long(), Y), ShapeError, "got torch.int64"),
        (lambda: losses.mae(Z, Y + 2), DataError, r"labels must be in 0..2, for 3 outputs; got 3 at sample 1"),
        (lambda: losses.gce(Z, Y, q=0), ConfigError, r"gce: q must lie in \(0, 1\]; got 0"),
        (lambda: losses.gce(Z, Y.float()), ConfigError, r"gce: target must be labels, int64 \[N\]; got torch.float32"),
        (lambda: losses.dmi(Z, Z), ConfigError, "dmi: target must be labels"),
        (lambda: losses.dmi(Z, Y[:1]), DataError, r"class labels must be \[2\]"),
        (lambda: losses.forward_correction(Z, Y, T=torch.eye(2)), ShapeError, r"T must be \[3, 3\]; got \[2, 2\]"),
        (lambda: losses.forward_correction(Z, Y, T=torch.ones(3, 3)), ConfigError, "got sums from 3 to 3"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
