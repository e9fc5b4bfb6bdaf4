"""Pictures of ten classes, part of whose labels are wrong."""

import io
import os
import pathlib
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from infotorch.train.noise import flip_labels, transition_matrix

C = 10
CIFAR10_MEAN, CIFAR10_STD = (0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606)


@dataclass(frozen=True, kw_only=True)
class NoisyData:
    """Training and validation labels with the same noise; test labels are right."""

    x: Tensor
    """[N, ...]."""
    given: Tensor
    """int64 [N]."""
    true: Tensor
    """int64 [N]."""
    x_val: Tensor
    given_val: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def wrong(self) -> Tensor:
        """Which training labels are wrong, bool [N]."""
        return self.given != self.true


def folder() -> pathlib.Path:
    """The folder of data sets, from INFOTORCH_DATA."""
    name = os.environ.get("INFOTORCH_DATA")
    if not name:
        raise SystemExit("benchmarks.limit: INFOTORCH_DATA must name the folder of the data sets; got nothing. Set it.")
    return pathlib.Path(name)


def mnist(data: pathlib.Path, noise: float, seed: int, *, n_train: int = 10_000, n_val: int = 2_000) -> NoisyData:
    """Digits as vectors [784]; a label is wrong with probability ``noise``, then any other class alike."""
    with np.load(data / "mnist.npz") as file:
        x, y, x_test, y_test = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    rng = np.random.default_rng(1000 + seed)
    chosen = rng.permutation(len(x))[: n_train + n_val]
    train, val = chosen[:n_train], chosen[n_train:]
    given = [_shifted(y[rows], noise, rng) for rows in (train, val)]
    return NoisyData(
        x=_digits(x[train]), given=given[0], true=torch.from_numpy(y[train]),
        x_val=_digits(x[val]), given_val=given[1],
        x_test=_digits(x_test), y_test=torch.from_numpy(y_test),
    )  # fmt: skip


def cifar10(data: pathlib.Path, noise: float, seed: int, *, n_train: int = 10_000, n_val: int = 2_000) -> NoisyData:
    """Pictures [3, 32, 32]; wrong labels by ``flip_labels``, each keyed by the picture's place in the data set."""
    order = torch.randperm(50_000, generator=torch.Generator().manual_seed(seed))
    train, val = order[:n_train], order[n_train : n_train + n_val]
    x, y = _parquet(data / "cifar10/train.parquet", order[: n_train + n_val])
    T = transition_matrix("uniform", C, noise)
    given = [flip_labels(y[rows], T, seed=seed, ids=rows)[0] for rows in (train, val)]
    x_test, y_test = _parquet(data / "cifar10/test.parquet", torch.arange(10_000))
    return NoisyData(
        x=x[:n_train], given=given[0], true=y[train], x_val=x[n_train:], given_val=given[1], x_test=x_test,
        y_test=y_test,
    )  # fmt: skip


def _digits(x: np.ndarray) -> Tensor:
    return torch.from_numpy(((x.reshape(len(x), -1) / 255 - 0.456) / 0.224).astype(np.float32))


def _shifted(y: np.ndarray, noise: float, rng: np.random.Generator) -> Tensor:
    """Labels, each moved on by 1 to 9 classes with probability ``noise``."""
    wrong = rng.random(len(y)) < noise
    shift = rng.integers(1, C, len(y))
    return torch.from_numpy(np.where(wrong, (y + shift) % C, y))


def _parquet(path: pathlib.Path, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures of ``rows``, standardized by channel, and the labels of all rows."""
    table = pq.read_table(path)
    files = table["img"].combine_chunks().field("bytes")
    x = np.stack([np.asarray(Image.open(io.BytesIO(files[row].as_py()))) for row in rows.tolist()])  # [N, H, W, 3]
    x = (x / 255 - CIFAR10_MEAN) / CIFAR10_STD
    return torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(
        table["label"].to_numpy()
    )
