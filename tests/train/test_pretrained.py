"""Only the head of a pretrained auxiliary network learns."""

import pytest
import torch
from torch import nn

from infotorch.errors import ConfigError, ShapeError
from infotorch.train.pretrained import pretrained_head
from tests.laws import assert_same_bits


def encoder():
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))


def test_only_the_head_learns(rng):
    original = encoder()
    aux = pretrained_head(original, 6, 4)
    before = {name: value.clone() for name, value in aux.encoder.state_dict().items()}
    optimizer = torch.optim.SGD(aux.parameters(), lr=1.0, weight_decay=0.1)
    x = torch.randn(8, 3, generator=rng)
    aux.train()
    head = [p.clone() for p in aux.head.parameters()]
    aux(x).square().sum().backward()
    optimizer.step()
    for name, value in aux.encoder.state_dict().items():
        assert_same_bits(value, before[name])  # running statistics of BatchNorm too
    assert all(not torch.equal(p, q) for p, q in zip(head, aux.head.parameters(), strict=True))
    assert aux.head.training and not aux.encoder.training


def test_the_encoder_given_is_left_alone():
    original = encoder()
    aux = pretrained_head(original, 6, 4)
    assert original.training and all(p.requires_grad for p in original.parameters())
    with torch.no_grad():
        original[0].weight.zero_()
    assert aux.encoder[0].weight.abs().max() > 0


def test_shapes(rng):
    aux = pretrained_head(nn.Flatten(), 12, 5)
    assert aux(torch.randn(2, 3, 4, generator=rng)).shape == (2, 5)
    assert [tuple(p.shape) for p in aux.head.parameters()] == [(128, 12), (128,), (5, 128), (5,)]


def test_refusals():
    with pytest.raises(ConfigError, match="dim must be at least 1; got 0"):
        pretrained_head(nn.Identity(), 0, 3)
    with pytest.raises(ShapeError, match=r"the encoder must return \[N, 4\]; got \[2, 5\]\. Give its width as dim"):
        pretrained_head(nn.Identity(), 4, 3)(torch.zeros(2, 5))
