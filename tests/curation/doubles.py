"""Scores of a small data set with known wrong labels, in memory and as a run."""

import numpy as np
import torch

from infotorch import store
from infotorch.data import Samples, sample_rows
from infotorch.table import Column, Scores

NAMES = ("cat", "dog", "eel")


def column(values, unit="1"):
    return Column(values=np.asarray(values), unit=unit, source="a test", kind="diagnostic")


def scores(**columns):
    made = {name: value if isinstance(value, Column) else column(value) for name, value in columns.items()}
    return Scores(index=np.arange(len(next(iter(made.values())))), columns=made)


def samples(y, **options):
    y = torch.as_tensor(y)
    options = {"ids": tuple(f"s{i}" for i in range(len(y)))} | options
    return Samples(x=torch.zeros(len(y), 1), y=y, **options)


def noisy(N=60, seed=0, **options):
    """Scores and samples: labels of which a sixth are wrong and clearly contradicted, and another sixth hard."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, N)
    kind = np.arange(N) % 6  # 0: wrong; 1: hard, contradicted by a hair; else agreed with
    suggested = np.where(kind < 2, (y + 1 + rng.integers(0, 2, N)) % 3, y)
    share = rng.random(N)
    residual = np.where(kind == 0, 1.2 + share, np.where(kind == 1, 0.4 + 0.09 * share, 0.1 + 0.3 * share))
    residual[2] = 0.5  # the whisker
    information = 0.1 + rng.random(N)
    table = scores(
        unique_information_weights=column(information, "nats"), own_residual=residual, suggested_label=suggested
    )
    metadata = {"source": np.where(kind < 2, "web", "lab"), "size": np.arange(N) ** 2, "even": np.arange(N) % 2 == 0}
    return table, samples(y, label_names=NAMES, metadata=metadata | options.pop("metadata", {}), **options), kind == 0


def kept(path, table, known, shard_size=16, finish=True):
    """The run of these scores in the folder ``path``."""
    data = {"label_names": known.label_names}
    with store.create(path, command={}, num_rows=len(table), shard_size=shard_size, data=data) as run:
        for start, stop in run.ranges():
            run.put_samples(start, sample_rows(known, start, stop))
            run.append(start, table.rows(start, stop))
            if not finish:
                return path
        run.finish()
    return path
