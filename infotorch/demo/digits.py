"""The handwritten digits that come with scikit-learn, 1,797 pictures of 8 x 8 pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from infotorch.data import Samples
from infotorch.errors import require

__all__ = ["NUM_CLASSES", "NUM_DIGITS", "parts", "split"]

NUM_DIGITS, NUM_CLASSES = 1797, 10


def split(num_train: int, num_test: int, rng: torch.Generator) -> tuple[Samples, Samples]:
    """Training digits and others to test on, with their true labels; inputs [N, 64] in 0..1."""
    train, test = parts([num_train, num_test], rng)
    return train, test


def parts(sizes: Sequence[int], rng: torch.Generator) -> list[Samples]:
    """So many digits each, all different, in an order that ``rng`` draws."""
    bunch = require("demo", "sklearn.datasets", "demo").load_digits()
    x = torch.tensor(bunch.data / 16, dtype=torch.float32)
    y = torch.tensor(bunch.target)

    def samples(rows: Tensor) -> Samples:
        return Samples(
            x=x[rows],
            y=y[rows],
            ids=tuple(f"digit-{int(row):04d}" for row in rows),
            label_names=tuple("0123456789"),
            images=(255 - bunch.images[rows.numpy()] * 255 / 16).astype(np.uint8),  # ink is dark
        )

    order = torch.randperm(len(x), generator=rng)[: sum(sizes)]
    return [samples(rows) for rows in order.split(list(sizes))]
