"""Small tasks whose scores can be written down."""

import torch
from torch import nn

from infotorch import Task


def classifier(rng, *, N=11, C=3, dtype=torch.float64):
    """A task of cross-entropy with inputs [N, 5] and labels int64 [N]."""
    torch.manual_seed(0)  # weights of layers
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, C)).to(dtype).eval()
    return Task(model), torch.randn(N, 5, generator=rng).to(dtype), torch.randint(C, (N,), generator=rng)


def binary(rng, *, N=11):
    """A task of one logit, and its labels 0. and 1., [N]."""
    task, x, _ = classifier(rng, N=N, C=1)
    return Task(task.model, loss="binary_cross_entropy"), x, (x[:, 0] > 0).double()


def spoilt(task, x, n, value=torch.nan):
    """The task with outputs that are not finite for sample n."""
    at = x[n, 0].item()
    return Task(task.model, forward=lambda model, x: model(x) * torch.where(x[:, :1] == at, value, 1.0))


def two_logits(task):
    """The classifier of two logits (0, z) with the probabilities of the binary task's sigmoid(z)."""
    return Task(task.model, forward=lambda model, x: torch.cat([torch.zeros(len(x), 1).to(x), model(x)], 1))


def shown(logits, **options):
    """A task whose outputs are its inputs, these logits [N, C]; with one weight, 1, that all depend on."""
    model = nn.Linear(1, 1, bias=False).to(logits).eval()
    nn.init.ones_(model.weight)
    return Task(model, forward=lambda model, x: x * model.weight[0, 0], **options), logits
