"""MNIST's fours and nines, and the network of arXiv 2110.01584's experiments on them."""

import os
import pathlib

import numpy as np
import torch
from torch import Tensor, nn

CLASSES = (4, 9)


def folder() -> pathlib.Path:
    """The folder of data sets, from INFOTORCH_DATA."""
    name = os.environ.get("INFOTORCH_DATA")
    if not name:
        raise SystemExit("benchmarks.bounds: INFOTORCH_DATA must name the folder of data sets; got nothing. Set it.")
    return pathlib.Path(name)


def pool() -> tuple[Tensor, Tensor]:
    """The training digits of both classes: float32 [N, 1, 28, 28] in 0..1, and labels 0 and 1."""
    with np.load(folder() / "mnist.npz") as file:
        x, y = file["x_train"], file["y_train"]
    rows = np.flatnonzero(np.isin(y, CLASSES))
    images = torch.from_numpy(x[rows].reshape(-1, 1, 28, 28)).float() / 255
    return images, torch.from_numpy(np.searchsorted(CLASSES, y[rows]))


def cnn(*, batch_norm: bool = True) -> nn.Sequential:
    """Four convolutions and two linear layers; the account of a Langevin training forbids batch normalization."""
    layers: list[nn.Module] = []
    for i, o, size, stride, padding in ((1, 32, 4, 2, 1), (32, 32, 4, 2, 1), (32, 64, 3, 2, 0), (64, 256, 3, 1, 0)):
        layers += [nn.Conv2d(i, o, size, stride, padding), *([nn.BatchNorm2d(o)] if batch_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2))
