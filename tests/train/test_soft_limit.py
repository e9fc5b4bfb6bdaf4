"""The penalty form against autograd on a last layer."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.train.soft_limit import SoftLimitLoss
from tests.laws import assert_same


@pytest.fixture
def batch(rng):
    h, W, v = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((5, 3), (4, 3), (5, 4)))
    return h.requires_grad_(), W.requires_grad_(), v.requires_grad_(), torch.randint(4, (5,), generator=rng)


def test_penalties_are_norms_of_the_last_layer_s_weight_gradients(batch):
    h, W, v, y = batch
    logits = h @ W.mT
    want = F.cross_entropy(logits, y)
    for n in range(5):
        z = (h[n] @ W.mT)[None]
        (true,) = torch.autograd.grad(F.cross_entropy(z, y[n : n + 1]), W, retain_graph=True)
        predicted = torch.outer(z[0].softmax(0) - v[n].softmax(0), h[n])
        want = want + (0.7 * (predicted - true).square().sum() + 0.2 * predicted.square().sum()) / 5
    assert_same(SoftLimitLoss(0.7, 0.2)(h, logits, v, y), want)


def test_gradients_flow_into_features_and_both_networks(batch):
    h, W, v, y = batch
    assert torch.autograd.gradcheck(lambda h, W, v: SoftLimitLoss(0.7, 0.2)(h, h @ W.mT, v, y), (h, W, v))
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(SoftLimitLoss(0.7, 0.2)(h, h @ W.mT, v, y), (h, W, v)))


def test_soft_labels_equal_hard_ones(batch):
    h, W, v, y = batch
    loss = SoftLimitLoss(0.7, 0.2)
    assert_same(loss(h, h @ W.mT, v, F.one_hot(y, 4).double()), loss(h, h @ W.mT, v, y).detach())


def test_without_penalties_it_is_cross_entropy(batch):
    h, W, v, y = batch
    assert_same(SoftLimitLoss(0.0, 0.0)(h, h @ W.mT, v, y), F.cross_entropy(h @ W.mT, y).detach())
    assert isinstance(SoftLimitLoss(0.0, 0.0), nn.Module)


def test_refusals(batch):
    h, W, v, y = batch
    for weights, text in (((-1.0, 0.0), "lam must be finite and at least 0; got -1"), ((0.0, math.inf), "beta .* inf")):
        with pytest.raises(ConfigError, match=text):
            SoftLimitLoss(*weights)
    loss = SoftLimitLoss(1.0, 1.0)
    with pytest.raises(ShapeError, match=r"got \[5, 3\], \[5, 4\] and \[5, 3\]\. Give the auxiliary"):
        loss(h, h @ W.mT, v[:, :3], y)
    with pytest.raises(ShapeError, match=r"got \[4, 3\]"):
        loss(h[:4], h @ W.mT, v, y)
    with pytest.raises(DataError, match="got 9 at sample 0"):
        loss(h, h @ W.mT, v, y + 9 - y[0])
