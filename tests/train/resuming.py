"""A training that is broken off and gone on with in another process: python -m tests.train.resuming PATH DONE TAKE."""

import random
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from infotorch.train.trainer import LimitTrainer
from tests.train.problems import networks, samples


class Noisy(Dataset):
    """Samples whose inputs are augmented by all three generators that a process has."""

    def __init__(self):
        self.x, self.y, self.ids = samples(torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, n):
        draw = torch.randn(6, dtype=torch.float64) + np.random.rand() + random.random()
        return self.x[n] + 0.1 * draw, self.y[n], int(self.ids[n])


def trainer(epochs=4, lr=1e-2):
    nets = networks(dropout=0.3, norm=True)
    optimizer = torch.optim.SGD(nets[0].parameters(), lr, momentum=0.9)
    schedulers = [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])]
    return LimitTrainer(
        *nets, optimizer=optimizer, schedulers=schedulers, lam=50.0, seed=5, warm_up=1, epochs=epochs, clip_norm=0.5,
        grad_accum=2,
    )  # fmt: skip


def loader(own_generator=True):
    """With a generator of its own; or with two workers and torch's."""
    if own_generator:
        return DataLoader(Noisy(), 8, shuffle=True, generator=torch.Generator().manual_seed(3))
    return DataLoader(Noisy(), 8, shuffle=True, num_workers=2)


def seed():
    torch.manual_seed(11)
    np.random.seed(12)
    random.seed(13)


class Stop(Exception):
    """The process dies here."""


def run(path, stop, load, own_generator):
    """All that there is after a training, which goes on from ``path`` or, with ``stop``, saves there and dies."""
    here = trainer()
    data = loader(own_generator)
    if load:
        here.load(path)
    else:
        seed()
    if stop:
        step = here.step

        def stopping(batch):
            if here.steps == stop:
                raise Stop
            return step(batch)

        here.step = stopping
    val = [(data.dataset.x, data.dataset.y)]
    try:
        keep = {"checkpoint": path, "checkpoint_every": stop} if stop else {}
        result = here.fit(data, val, true_labels=data.dataset.y, **keep)
    except Stop:
        return None
    state = here.state_dict()
    state["result"] = {"info": repr(result.info), "scores": torch.from_numpy(result.scores.values)}
    return state


if __name__ == "__main__":
    path, out, stop, load, own_generator = sys.argv[1:]
    torch.save(run(path, int(stop), load == "load", own_generator == "own"), out)
