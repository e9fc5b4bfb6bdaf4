"""Reads the golden cases of distillation, and small teachers and students of them."""

import json
import pathlib

import torch
from torch import nn

from tests.train.problems import mlp, samples

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "supervision_complexity"


def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def wide(values):
    return torch.tensor(values, dtype=torch.float64)


def softmax_layer(weight):
    """A linear layer without a bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def teachers(count=4, **options):
    return [mlp(seed + 10, **options) for seed in range(count)]


def batches(rng, N=24, size=8):
    """Batches (x, y, ids)."""
    x, y, ids = samples(rng, N=N)
    return [(x[rows], y[rows], ids[rows]) for rows in torch.arange(N).split(size)]


def sgd(net, lr=0.01):
    return torch.optim.SGD(net.parameters(), lr, momentum=0.9)
