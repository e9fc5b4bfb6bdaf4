"""What every ensemble refuses, on the simplest of them."""

import re

import numpy as np
import pytest
import torch

from infotorch.bounds.ensembles.ensemble import initial_seed, order_generator
from infotorch.bounds.ensembles.mlp_ensemble import mlp_ensemble
from infotorch.errors import ConfigError, DataError, ShapeError
from tests.laws import assert_same_bits

X, Y = torch.zeros(4, 3), torch.tensor([0, 1, 1, 0])
OPTIONS = {"hidden": 2, "num_classes": 2, "lr": 0.1, "batch_size": 2, "epochs": 3}


@pytest.mark.parametrize(
    ("x", "y", "error", "text"),
    [
        (X, torch.tensor([0, 2, 1, 0]), DataError, "labels must lie in 0..1; got 2 in row 1"),
        (X, torch.tensor([0, 1, -1, 0]), DataError, "labels must lie in 0..1; got -1 in row 2"),
        (X, Y.float(), DataError, "y must hold integers; got torch.float32"),
        (X, Y.bool(), DataError, "y must hold integers; got torch.bool"),
        (X, Y[:3], ShapeError, "x must be [N, ...] and y [N]; got [4, 3] and [3]"),
        (X[:, 0], Y, ShapeError, "x must be [N, ...] and y [N]; got [4] and [4]"),
        (X.long(), Y, DataError, "x must be float32 or float64; got torch.int64"),
        (X.index_fill(0, torch.tensor([2]), torch.nan), Y, DataError, "x must be finite; got NaN or infinity in row 2"),
    ],
)
def test_refuses_data(x, y, error, text):
    with pytest.raises(error, match=re.escape(f"mlp_ensemble: {text}")):
        mlp_ensemble(x, y, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"optimizer": "adamw"}, "optimizer must be one of 'sgd', 'adam'; got 'adamw'"),
        ({"optimizer": "adam", "momentum": 0.9}, "adam has no momentum; got 0.9"),
        ({"lr": 0.0}, "lr must be positive and momentum not negative; got lr=0, momentum=0"),
        ({"momentum": -1.0}, "got lr=0.1, momentum=-1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"epochs": 2.5}, "epochs must be an integer; got 2.5. Pass an int."),
        ({"num_classes": 2.0}, "num_classes must be an integer; got 2.0"),
        ({"hidden": 2.0}, "hidden must be an integer; got 2.0"),
    ],
)
def test_refuses_options(options, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        mlp_ensemble(X, Y, **OPTIONS | options)


@pytest.mark.parametrize(
    ("cells", "indices", "checkpoints", "error", "text"),
    [
        ([], [0], (), ShapeError, "there must be a cell; got none"),
        ([([0], 1), ([], 2)], [0], (), ShapeError, "must have training samples; got none in cell 1"),
        ([([0, 4], 1)], [0], (), DataError, "train_indices of cell 0 must lie in 0..3; got 4"),
        ([([0, 1], 1)], [-1], (), DataError, "indices must lie in 0..3; got -1"),
        ([([0.5, 1], 1)], [0], (), ShapeError, "train_indices of cell 0 must be integers [n]; got torch.float64 [2]"),
        ([([0, 1], 1)], [[0]], (), ShapeError, "indices must be integers [n]; got torch.int64 [1, 1]"),
        ([([0, 1], -1)], [0], (), ConfigError, "a seed must lie in 0..2^64 - 1; got -1 in cell 0"),
        ([([0, 1], 1.5)], [0], (), ConfigError, "the seed of cell 0 must be an integer; got 1.5"),
        ([([0, 1], 1)], [0], (1.5,), ConfigError, "a checkpoint must be an integer; got 1.5"),
        ([([0, 1], 1)], [0], (0, 2), ConfigError, "checkpoints must increase within 1..3; got [0, 2]"),
        ([([0, 1], 1)], [0], (2, 2), ConfigError, "got [2, 2]"),
        ([([0, 1], 1)], [0], (2, 4), ConfigError, "got [2, 4]"),
    ],
)
def test_refuses_calls(cells, indices, checkpoints, error, text):
    with pytest.raises(error, match=re.escape(text)):
        mlp_ensemble(X, Y, **OPTIONS)(cells, indices, checkpoints)


def test_integers_of_numpy():
    options = {name: np.int64(value) if isinstance(value, int) else value for name, value in OPTIONS.items()}
    plain, numpy = (mlp_ensemble(torch.eye(4), Y, **given) for given in (OPTIONS, options))
    assert numpy.hidden == plain.hidden == (2,)
    want = plain.logits([([0, 1, 2], 7)], range(4), [1, 3])
    assert_same_bits(numpy.logits([(np.arange(3), np.uint64(7))], np.arange(4), np.array([1, 3])), want)


def test_all_bits_of_a_seed_count():
    """The generator of torch reads 32 of them."""
    seeds = [0, 1, 2**32, 2**32 + 1, 2**63]
    assert len({initial_seed(seed) for seed in seeds}) == len(seeds)
    orders = {tuple(torch.randperm(20, generator=order_generator(seed)).tolist()) for seed in seeds}
    assert len(orders) == len(seeds)
    assert initial_seed(5) != int(order_generator(5).initial_seed())
