"""Small models with every kind of layer, and their gradients one sample at a time by torch.func."""

import copy
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infotorch.task import Task
from tests import oracles
from tests.capture.agreement import squared_error


class Sequence(nn.Module):
    """Embedding, shared Linear over positions, LayerNorm, a head tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.emb, self.fc, self.norm = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 4), nn.LayerNorm(4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.emb.weight

    def forward(self, ids):
        return self.head(self.norm(self.fc(self.fc(self.emb(ids)).tanh())).mean(1))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="circular"),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, (2, 3), padding="same", dilation=(2, 1)),
        nn.Tanh(),
        nn.Conv2d(6, 5, 4),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


def floats(*shape):
    return torch.randn(7, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Partly(nn.Module):
    """A layer that no output depends on, a bias without its weight, a weight without its bias, a layer used twice."""

    def __init__(self):
        super().__init__()
        self.unused, self.twice = nn.Linear(2, 3), nn.Linear(5, 5)
        self.shift, self.scale = nn.Linear(5, 4), nn.Linear(4, 2)
        self.shift.weight.requires_grad_(False)
        self.scale.bias.requires_grad_(False)

    def forward(self, x):
        return self.scale(self.shift(self.twice(self.twice(x).tanh())).tanh())


class Gated(nn.Module):
    """Its second layer serves batches of positive samples alone."""

    def __init__(self):
        super().__init__()
        self.fc, self.extra = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x):
        h = self.fc(x)
        return self.extra(h) if x.sum() > 0 else h


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)), floats(5)),
    "one output": (lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)), floats(5)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False)), floats(5)),
    "conv": (conv_net, floats(4, 8, 8)),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        floats(2, 3, 3),
    ),
    "wide positions": (
        lambda: nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1), nn.Flatten()),
        floats(3, 20),
    ),
    "sequence": (Sequence, torch.randint(0, 7, (7, 5), generator=torch.Generator().manual_seed(1))),
    "partly": (Partly, floats(5)),
    "ids": (lambda: nn.Sequential(nn.Embedding(50, 3), nn.Tanh(), nn.Flatten()), torch.arange(14).view(7, 2) % 5),
}


@dataclass(frozen=True)
class Case:
    """A float64 task with its data and what it must give."""

    task: Task
    x: Tensor
    y: Tensor
    g: dict[str, Tensor]
    """Gradients of each sample's loss, {name: [N, *shape]}."""
    J: Tensor
    """Jacobian of the outputs, [N, C, P]."""

    @property
    def batch(self):
        return self.x, self.y

    @property
    def G(self) -> Tensor:
        """Gradients of the losses, [N, P]."""
        return torch.cat([g.flatten(1) for g in self.g.values()], 1)


@functools.cache
def case(name: str) -> Case:
    make, x = MODELS[name]
    torch.manual_seed(0)
    model = make().double().eval()
    for p in model.parameters():
        p.data.normal_(std=0.5)
    task = Task(model, loss="mse")
    y = torch.randn(task.outputs(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    g = oracles.per_sample_grads(copy.deepcopy(model), squared_error, x, y)
    return Case(task, x, y, g, oracles.jacobian(copy.deepcopy(model), x))
