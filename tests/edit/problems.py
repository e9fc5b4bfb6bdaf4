"""Small problems that the tests of this room share, with the goldens."""

import functools
import itertools
import pathlib

import numpy as np
import torch
from torch import nn

from infotorch.task import Task

FILE = pathlib.Path(__file__).parents[1] / "golden/weights_information/edit.npz"


@functools.cache
def golden():
    with np.load(FILE) as found:
        return {name: torch.as_tensor(found[name]) for name in found}


def ridge_regression():
    """Task at the weights of all data, the retained and the forgotten samples, the ridge."""
    g = golden()
    model = nn.Linear(6, 1, bias=False).double().eval()
    model.weight.data.copy_(g["scrub_w_all"][None])
    retain, forget = ((g[f"scrub_X{s}"], g[f"scrub_y{s}"][:, None]) for s in "rf")
    return Task(model, loss="mse"), retain, forget, float(g["scrub_mu"])


def net(sizes=(3, 5, 3), dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    layers = [m for i, o in itertools.pairwise(sizes) for m in (nn.Linear(i, o), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).to(dtype).eval()


def classified(N=20, sizes=(3, 5, 3), dtype=torch.float64, seed=0):
    """A classifier as it is at initialisation, and samples of its classes."""
    rng = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(N, sizes[0], generator=rng, dtype=dtype)
    y = torch.randint(0, sizes[-1], (N,), generator=rng)
    return Task(net(sizes, dtype, seed)), x, y


def flat(model):
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])
