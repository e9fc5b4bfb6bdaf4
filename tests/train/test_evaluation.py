"""Accuracy by hand, and modes that come back."""

import pytest
import torch
from torch import nn

from infotorch.errors import DataError
from infotorch.train.evaluation import Accuracy, accuracy, device_of, evaluating


def test_accuracy_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([0, 0, -100, 1])
    found = accuracy("here", nn.Identity(), [(z[:3], y[:3]), (z[3:], y[3:])])
    assert found == Accuracy(value=2 / 3, num_labels=3)
    assert found.stderr == pytest.approx((2 / 9 / 3) ** 0.5)
    with pytest.raises(DataError, match="here: a loader to measure accuracy on must hold labels; got none"):
        accuracy("here", nn.Identity(), [(z[2:3], y[2:3])])


def test_modes_come_back_even_after_an_error():
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    network[1].eval()
    with pytest.raises(KeyError), evaluating(network):
        assert not any(module.training for module in network.modules()) and not torch.is_grad_enabled()
        raise KeyError
    assert network.training and network[0].training and not network[1].training and torch.is_grad_enabled()


def test_the_device_of_a_network():
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta" and device_of(nn.Identity()).type == "cpu"
    only_buffer = nn.Module()
    only_buffer.register_buffer("b", torch.zeros(1, device="meta"))
    assert device_of(only_buffer).type == "meta"
