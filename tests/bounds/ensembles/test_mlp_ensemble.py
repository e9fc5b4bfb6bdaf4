"""A perceptron of a stack is the one that nn.Linear and torch.optim train alone, and its bits are its own."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import bounds
from infotorch.bounds.ensembles.ensemble import DivergedCells, initial_seed
from infotorch.bounds.ensembles.mlp_ensemble import MlpEnsemble, mlp_ensemble
from infotorch.errors import ConfigError
from tests.bounds.ensembles import loop
from tests.laws import assert_same_bits

N, I, C = 40, 5, 3
TRAINING = {"batch_size": 4, "epochs": 6, "lr": 0.1}


@pytest.fixture
def pool(rng):
    return torch.randn(N, I, generator=rng), torch.randint(C, (N,), generator=rng)


@pytest.fixture
def cells(rng):
    """Sets of 10 and of 7, in turns: their last batches differ, and 7 of them make fewer steps."""
    return [(torch.randperm(N, generator=rng)[: 10 - 3 * (s % 2)].numpy(), 100 + s) for s in range(5)]


def perceptron(sizes, seed):
    """nn.Linear's own rule, on the generator of the cell."""
    generator = torch.Generator().manual_seed(initial_seed(seed))
    layers = []
    for fan_in, out in itertools.pairwise(sizes):
        linear = nn.Linear(fan_in, out)
        nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(linear.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("optimizer", [{"momentum": 0.9}, {"momentum": 0.0}, {"optimizer": "adam"}], ids=str)
@pytest.mark.parametrize("hidden", [6, (7, 1, 6), ()], ids=str)
def test_equals_a_loop_over_modules(pool, cells, hidden, optimizer):
    x, y = pool[0].double(), pool[1]
    stops = [1, 4, 6]
    fn = mlp_ensemble(x, y, hidden=hidden, num_classes=C, **TRAINING, **optimizer)
    got = fn.logits(cells, range(N), stops)
    sizes = [I, *([hidden] if isinstance(hidden, int) else hidden), C]
    options = TRAINING | {"optimizer": "sgd"} | optimizer
    want = torch.stack([loop.train(perceptron(sizes, c[1]), x, y, c, checkpoints=stops, **options) for c in cells])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)  # the two round a float32 bound of the weights
    assert np.array_equal(fn(cells, range(N), stops), want.argmax(-1).numpy())


@pytest.mark.parametrize("sizes", [(I, 6, C), (I, 33, 17, C)], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bits_do_not_depend_on_the_company(pool, rng, sizes, optimizer):
    """More than one stack, cells of two sizes, in any order, or alone: the same bits."""
    fn = mlp_ensemble(*pool, hidden=sizes[1:-1], num_classes=C, optimizer=optimizer, **TRAINING)
    cells = [(torch.randperm(N, generator=rng)[: 9 + s % 2].numpy(), s) for s in range(70)]
    together = fn.logits(cells, range(N))
    order = torch.randperm(len(cells), generator=rng)
    assert_same_bits(fn.logits([cells[e] for e in order], range(N)), together[order])
    for e in (0, 31, 33, 69):
        assert_same_bits(fn.logits([cells[e]], range(N))[0], together[e])


def test_bits_do_not_depend_on_the_checkpoints_or_the_indices(pool, cells):
    fn = mlp_ensemble(*pool, hidden=6, num_classes=C, **TRAINING)
    whole = fn.logits(cells, range(N), [2, 6])
    assert_same_bits(fn.logits(cells, range(N)), whole[:, 1].contiguous())
    assert_same_bits(fn.logits(cells, range(N), [2])[:, 0].contiguous(), whole[:, 0].contiguous())
    assert fn(cells, []).shape == (5, 0) and fn(cells, [3], [2, 6]).shape == (5, 2, 1)


def test_seed_and_training_set_both_count(pool, cells):
    fn = mlp_ensemble(*pool, hidden=6, num_classes=C, **TRAINING)
    rows = cells[0][0]
    a, seed, high, other = fn.logits([(rows, 1), (rows, 2), (rows, 1 + 2**32), (cells[2][0], 1)], range(N))
    for changed in (seed, high, other):
        assert (a - changed).abs().max() > 1e-3


def test_a_member_that_diverges_is_named_and_harms_no_other(pool, cells):
    x, y = pool[0].clone(), pool[1]
    x[0] = 1e38  # trained on by cells 1 and 3 alone, and so far away that its gradients overflow
    trained = [(np.r_[rows[rows != 0], 0] if e in (1, 3) else rows[rows != 0], s) for e, (rows, s) in enumerate(cells)]
    fn = mlp_ensemble(x, y, hidden=6, num_classes=C, **TRAINING)
    queries = range(1, N)
    with pytest.raises(DivergedCells, match=r"must be finite; got NaN or infinity in cell 1 \(seed 101\), cell 3") as e:
        fn(trained, queries)
    error = pickle.loads(pickle.dumps(e.value))
    assert error.cells == [1, 3] and (error.labels[[1, 3]] == -1).all()
    others = [trained[e] for e in (0, 2, 4)]
    assert np.array_equal(error.labels[[0, 2, 4]], fn(others, queries))


def test_survives_pickling(pool, cells):
    fn = mlp_ensemble(*pool, hidden=6, num_classes=C, **TRAINING)
    assert np.array_equal(pickle.loads(pickle.dumps(fn))(cells, range(N)), fn(cells, range(N)))


def test_inputs_of_any_shape_are_rows(pool, cells):
    x, y = pool
    flat = mlp_ensemble(x[:, :4], y, hidden=6, num_classes=C, **TRAINING)
    square = mlp_ensemble(x[:, :4].reshape(N, 2, 2).numpy(), y.numpy(), hidden=6, num_classes=C, **TRAINING)
    assert_same_bits(square.logits(cells, range(N)), flat.logits(cells, range(N)))


def test_refuses_layers_without_width(pool):
    with pytest.raises(ConfigError, match=r"mlp_ensemble: hidden must be positive; got \[4, 0\]"):
        mlp_ensemble(*pool, hidden=(4, 0), num_classes=C, **TRAINING)


def test_a_run_keeps_the_members_that_did_not_diverge(tmp_path, monkeypatch):
    """The one that did is named, with its cell."""
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    ensemble = mlp_ensemble(x, y, hidden=4, num_classes=2, lr=0.1, batch_size=5, epochs=1)
    plan = bounds.plan(60, 10, 1, 4, block=4)
    bad = int(plan.run_seeds[0, 1])
    start = MlpEnsemble._start

    def started(self, seeds):
        state, parameters = start(self, seeds)
        with torch.no_grad():
            state[0][[seed == bad for seed in seeds]] = torch.nan
        return state, parameters

    monkeypatch.setattr(MlpEnsemble, "_start", started)
    with pytest.raises(bounds.RunError, match=r"got 1 that failed .* \(k1=0, k2=1\): DivergedCells") as error:
        bounds.run(plan, None, tmp_path, labels=y, ensemble=ensemble, workers=1, probe=False, retries=0)
    assert list(error.value.cells) == [(0, 1)]
    assert bounds.status(tmp_path).missing == [(0, 1)]
