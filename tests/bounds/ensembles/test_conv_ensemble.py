"""A convolutional network of an ensemble is the one that torch.optim trains alone."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from infotorch.bounds.ensembles.conv_ensemble import conv_ensemble
from infotorch.bounds.ensembles.ensemble import DivergedCells
from infotorch.bounds.ensembles.initial import initial_network
from infotorch.errors import ConfigError, DataError
from tests.bounds.ensembles import loop

N, C = 40, 3
TRAINING = {"batch_size": 20, "epochs": 3, "lr": 1e-2}


def plain():
    """The first convolution's patch has 9 numbers and 12 channels read it: its norm's statistics come from S."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(12, 8, 3, bias=False), nn.BatchNorm2d(8, momentum=0.3, eps=1e-3), nn.ReLU()),
        nn.Flatten(), nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, C),
    )  # fmt: skip


def pooled():
    """Norms behind nothing, without weights, and before another activation; biases that count; every pool."""
    return nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 5, 3, padding=2), nn.LeakyReLU(0.1, inplace=True), nn.MaxPool2d(2, padding=1),
        nn.Conv2d(5, 6, 2), nn.BatchNorm2d(6, affine=False), nn.GELU(), nn.AvgPool2d((2, 1)),
        nn.AdaptiveAvgPool2d((1, None)), nn.Flatten(), nn.Linear(30, C),
    )  # fmt: skip


def repeated():
    """One activation in two places."""
    relu = nn.ReLU()
    return nn.Sequential(nn.Conv2d(1, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(64, C))


@pytest.fixture
def pool(rng):
    return torch.rand(N, 1, 8, 8, generator=rng).double(), torch.randint(C, (N,), generator=rng)


@pytest.fixture
def cells(rng):
    """Sets of one batch and of two, whose second one is too small for the kernels."""
    return [(torch.randperm(N, generator=rng)[: (17, 24)[s % 2]].numpy(), 100 + s) for s in range(3)]


@pytest.mark.parametrize("optimizer", [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}], ids=str)
@pytest.mark.parametrize("network", [plain, pooled, repeated])
def test_equals_a_loop_over_modules(pool, cells, network, optimizer):
    stops = [1, 3]
    fn = conv_ensemble(network, *pool, **TRAINING, **optimizer)
    want = torch.stack(
        [
            loop.train(initial_network("", network, c[1]), *pool, c, checkpoints=stops, **TRAINING, **optimizer)
            for c in cells
        ]
    )
    torch.testing.assert_close(fn.logits(cells, range(N), stops), want, rtol=0, atol=1e-8)
    assert np.array_equal(fn(cells, range(N), stops), want.argmax(-1).numpy())


def test_float32_stays_near_float64(pool, cells):
    x, y = pool
    a, b = (conv_ensemble(plain, x, y, **TRAINING).logits(cells, range(N)) for x in (x, x.float()))
    torch.testing.assert_close(b.double(), a, rtol=0, atol=1e-3)


def test_company_changes_nothing(pool, cells):
    fn = conv_ensemble(plain, pool[0].float(), pool[1], **TRAINING)
    together = fn.logits(cells, range(N))
    for e, cell in enumerate(cells):
        torch.testing.assert_close(fn.logits([cell], range(N))[0], together[e], rtol=0, atol=1e-5)


def test_wide_stacks_train_the_same_networks(pool, cells, monkeypatch):
    """The width of other devices."""
    fn = conv_ensemble(plain, *pool, **TRAINING)
    alone = fn.logits(cells, range(N))
    monkeypatch.setattr(type(fn), "width", 4)
    torch.testing.assert_close(fn.logits(cells, range(N)), alone, rtol=0, atol=1e-9)


def test_survives_pickling_and_takes_a_module(pool, cells):
    fn = conv_ensemble(plain(), *pool, **TRAINING)
    assert np.array_equal(pickle.loads(pickle.dumps(fn))(cells, range(N)), fn(cells, range(N)))


def test_a_member_that_diverges_is_named_and_harms_no_other(pool, cells):
    x, y = pool[0].float(), pool[1]
    x[0] = 1e30  # its square, and so the covariance of patches that hold it, is infinite
    trained = [(np.r_[rows[rows != 0], 0] if e == 1 else rows[rows != 0], s) for e, (rows, s) in enumerate(cells)]
    fn = conv_ensemble(plain, x, y, **TRAINING)
    with pytest.raises(DivergedCells, match=r"in cell 1 \(seed 101\)\. Lower lr") as error:
        fn(trained, range(1, N))
    assert np.array_equal(error.value.labels[[0, 2]], fn([trained[0], trained[2]], range(1, N)))


def test_refuses_pictures_of_bytes(pool):
    x, y = pool
    with pytest.raises(DataError, match=r"conv_ensemble: x must be float32 or float64; got torch\.uint8"):
        conv_ensemble(plain, x.to(torch.uint8), y, **TRAINING)


def test_refuses_a_single_value_a_channel(pool):
    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, C))
    fn = conv_ensemble(network, *pool, **TRAINING)
    with pytest.raises(ConfigError, match=r"more than one value a channel; got one in layer '1'\. Choose a batch_size"):
        fn([(np.arange(21), 0)], [0])


def test_refuses_labels_outside_of_the_networks_classes(pool):
    with pytest.raises(DataError, match=r"conv_ensemble: labels must lie in 0\.\.1; got 2"):
        conv_ensemble(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), *pool, **TRAINING)
