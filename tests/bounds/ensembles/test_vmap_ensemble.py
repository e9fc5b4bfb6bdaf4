"""A module under vmap is the one that torch.optim trains alone."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from infotorch.bounds.ensembles.ensemble import DivergedCells
from infotorch.bounds.ensembles.initial import initial_network
from infotorch.bounds.ensembles.vmap_ensemble import vmap_ensemble
from infotorch.errors import ConfigError, DataError, NotSupported, ShapeError
from tests.bounds.ensembles import loop

N, C = 30, 3
TRAINING = {"batch_size": 4, "epochs": 4, "lr": 0.1}


@pytest.fixture
def pool(rng):
    return torch.randn(N, 2, 6, 6, generator=rng).double(), torch.randint(C, (N,), generator=rng)


@pytest.fixture
def cells(rng):
    return [(torch.randperm(N, generator=rng)[: 10 - 3 * (s % 2)].numpy(), 100 + s) for s in range(4)]


class Residual(nn.Module):
    """Two parameters of its own, one frozen, one used twice, and a buffer that stays."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.mix = nn.Linear(4, 4, bias=False)
        self.again = self.mix
        self.scale = nn.Parameter(torch.rand(4))
        self.fixed = nn.Parameter(torch.randn(4), requires_grad=False)
        self.register_buffer("place", torch.arange(4.0))
        self.head = nn.Linear(4, C)

    def forward(self, x):
        h = self.norm(self.conv(x)).relu().mean((2, 3)) * self.scale + self.fixed + self.place
        return self.head(h + self.again(torch.tanh(self.mix(h))))


NETWORKS = [
    nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, C)),
    nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(64, C)),
    Residual,
]


@pytest.mark.parametrize("optimizer", [{"momentum": 0.9}, {"optimizer": "adam"}], ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=["mlp", "batch-norm-of-the-batch", "residual"])
def test_equals_a_loop_over_modules(pool, cells, network, optimizer):
    x, y = pool
    stops = [1, 4]
    fn = vmap_ensemble(network, x, y, **TRAINING, **optimizer)
    options = TRAINING | {"optimizer": "sgd"} | optimizer
    want = torch.stack(
        [loop.train(initial_network("", network, c[1]), x, y, c, checkpoints=stops, **options) for c in cells]
    )
    torch.testing.assert_close(fn.logits(cells, range(N), stops), want, rtol=0, atol=1e-9)


def test_company_changes_nothing(pool, cells):
    fn = vmap_ensemble(NETWORKS[0], pool[0].float(), pool[1], **TRAINING)
    together = fn.logits(cells, range(N))
    for e, cell in enumerate(cells):
        torch.testing.assert_close(fn.logits([cell], range(N))[0], together[e], rtol=0, atol=1e-5)


def test_survives_pickling(pool, cells):
    fn = vmap_ensemble(Residual, *pool, **TRAINING)
    assert np.array_equal(pickle.loads(pickle.dumps(fn))(cells, range(N)), fn(cells, range(N)))


def test_a_member_that_diverges_is_named_and_harms_no_other(pool, cells):
    x, y = pool[0].float(), pool[1]
    x[0] = 1e38
    trained = [(np.r_[rows[rows != 0], 0] if e == 1 else rows[rows != 0], s) for e, (rows, s) in enumerate(cells)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, C))
    fn = vmap_ensemble(network, x, y, **TRAINING)
    with pytest.raises(DivergedCells, match=r"in cell 1 \(seed 101\)\. Lower lr") as error:
        fn(trained, range(1, N))
    others = [0, 2, 3]
    assert np.array_equal(error.value.labels[others], fn([trained[e] for e in others], range(1, N)))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(72, C)

    def forward(self, x):
        return self.head(x.flatten(1)) + torch.randn(1, dtype=x.dtype)


@pytest.mark.parametrize(
    ("layers", "error", "text"),
    [
        ([nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, C)], NotSupported, "got '0.running_mean', which its forward"),
        ([nn.Flatten(), nn.Dropout(0.1), nn.Linear(72, C)], NotSupported, "got Dropout in layer '1'. Set its p to 0"),
        ([Noisy()], NotSupported, "got outputs that differ from call to call"),
        ([nn.Flatten()], ConfigError, "must have parameters to train; got none"),
        ([nn.Linear(6, C)], ShapeError, r"must return \[B, C\]; got \[2, 2, 6, 3\] for B = 2"),
        ([nn.Flatten(), nn.Linear(72, 2)], DataError, "labels must lie in 0..1; got 2"),
    ],
)
def test_refuses(pool, layers, error, text):
    with pytest.raises(error, match=text):
        vmap_ensemble(nn.Sequential(*layers), *pool, **TRAINING)


def test_dropout_of_nothing_is_let_through(pool, cells):
    with_it = nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(72, C))
    without = nn.Sequential(nn.Flatten(), nn.Linear(72, C))
    a, b = (vmap_ensemble(network, *pool, **TRAINING).logits(cells, range(N)) for network in (with_it, without))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
