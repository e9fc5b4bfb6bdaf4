"""Small tasks and measures for the pipeline, and pairs of tasks that look alike and are not."""

import dataclasses

import numpy as np
import torch
from torch import nn

from infotorch import pipeline
from infotorch.table import Column, Scores
from infotorch.task import Task

N = 11


class Sum:
    """The sum of a sample's outputs: a measure that looks at one sample at a time."""

    row_wise = True

    def __init__(self, name="sum", column=None, **options):
        self.name, self.column, self.options, self.calls = name, column or name, options, []

    def config(self):
        return self.options

    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        self.calls.append(len(x))
        with torch.no_grad():
            values = task.outputs(x).sum(1).double().numpy()
        return Scores(index=np.arange(len(x)), columns={self.column: Column(values=values, unit="1", source="test")})


class Centered(Sum):
    """The sum less its mean over all samples: a measure that looks at all samples at once."""

    row_wise = False

    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        if progress:
            progress("centering", 1, 1)
        values = super().scores(task, x, y)[self.column].values
        column = Column(values=values - values.mean(), unit="nats", source="test", kind="diagnostic")
        return Scores(index=np.arange(len(x)), columns={self.column: column})


def made(seed=0):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return Task(model), (torch.randn(N, 1, 4, 4, generator=rng), torch.randint(0, 3, (N,), generator=rng))


def score(out=None, chosen=None, task=None, data=None, **options):
    default = made()
    chosen = [Sum(), Centered("centered")] if chosen is None else chosen
    options = {"out": out, "shard_size": 4, "batch_size": 3} | options
    return pipeline.score(task or default[0], data or default[1], chosen, **options)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """The mean output on test data, which must be a tensor."""

    name = "compared"
    test_data: object = None

    def config(self):
        return {"test_data": self.test_data.tolist()}

    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        with torch.no_grad():
            mean = float(task.outputs(self.test_data).mean())
        column = Column(values=np.full(len(x), mean), unit="1", source="test")
        return Scores(index=np.arange(len(x)), columns={"compared": column})


def stacked(activation, scale=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), activation, nn.Linear(5, 3)).eval()
    model[1].scale = scale
    return Task(model)


class Scaled(nn.Module):
    """A network whose printed form doesn't tell what it does."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.function = nn.Linear(16, 3), function

    def forward(self, x):
        return self.function(self.linear(x.flatten(1)))


def forwards():
    model = made()[0].model
    return Task(model, forward=lambda m, x: m(x).tanh()), Task(model, forward=lambda m, x: m(x).relu())


def powers(n):
    return Task(made()[0].model, forward=lambda m, x: m(x) ** n)


def targets():
    model = made()[0].model
    return Task(model, target=lambda batch: batch[1]), Task(model, target=lambda batch: 2 - batch[1])


def losses():
    model = made()[0].model
    return (
        Task(model, loss=lambda f, y: nn.functional.cross_entropy(f, y, reduction="none")),
        Task(model, loss=lambda f, y: nn.functional.nll_loss(f, y, reduction="none")),
    )


OTHERS = {
    "activation": (
        lambda: (stacked(nn.Tanh()), stacked(nn.ReLU())),
        'layers[3] "  (2): Tanh()" there and "  (2): ReLU',
    ),
    "attribute": (lambda: (stacked(nn.Tanh(), 1.0), stacked(nn.Tanh(), 2.0)), "task.model.code"),
    "function in a module": (lambda: (Task(Scaled(torch.tanh).eval()), Task(Scaled(torch.relu).eval())), "model.code"),
    "lambda": (forwards, "command.score.task.forward.code"),
    "closure": (lambda: (powers(2), powers(3)), "command.score.task.forward.code"),
    "target": (targets, "command.score.task.target.code"),
    "loss": (losses, "command.score.task.loss.code"),
}
