"""Many networks trained at once: what the forms of an ensemble share.

A cell is one training run, (train_indices, seed). Its network and the order of its batches are drawn from its own seed,
and cells are trained in stacks of a fixed number of members, filled up with copies of the last cell: so what a cell
yields depends on nothing but itself.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.bounds.theory.information import integer
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError, check_choice

__all__ = ["DivergedCells", "NetworkEnsemble", "Optimizer", "initial_seed", "order_generator"]

Optimizer = Literal["sgd", "adam"]
# Samples that are predicted at once; fixed, so that the shapes, and with them the bits, don't depend on what is asked.
QUERIES = 256


class DivergedCells(NumericsError):
    """The training of some cells produced numbers that are not finite; the others are whole."""

    def __init__(self, message: str, cells: Sequence[int], labels: np.ndarray) -> None:
        super().__init__(message)
        self.cells = list(cells)
        """Positions, in the list of cells, of those that diverged."""
        self.labels = labels
        """What the ensemble would have returned; -1 in the rows of the cells that diverged."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.cells, self.labels)  # it has to cross from a worker's process


def check_real(where: str, x: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise DataError(f"{where}: x must be float32 or float64; got {x.dtype}. Convert it: x.float().")


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkEnsemble(abc.ABC):
    """Trains a network for each cell and predicts labels: ``ensemble(cells, indices, checkpoints=())``.

    The loss is the mean cross-entropy of a batch. Every epoch passes once over ``train_indices`` in an order drawn
    anew; the last batch is smaller where batch_size does not divide n. Where one batch holds the whole set no order is
    drawn, because a sum doesn't depend on it but for rounding.
    """

    x: Tensor = field(repr=False)
    """Inputs of the pool, float32 or float64 [N, *shape]; all is computed in their dtype."""
    y: Tensor = field(repr=False)
    """Labels of the pool, integers [N]."""
    num_classes: int
    """C, the number of logits."""
    lr: float
    """Learning rate."""
    momentum: float = 0.0
    """Momentum of SGD."""
    batch_size: int
    """Samples a step."""
    epochs: int
    """Passes over the training set."""
    optimizer: Optimizer = "sgd"
    """``sgd`` or ``adam``, with torch.optim's defaults but for lr and momentum."""
    device: str = "cpu"
    """Where networks are trained."""

    name: ClassVar[str] = "ensemble"

    @property
    def width(self) -> int:
        """Members of a stack."""
        return 32

    def __post_init__(self) -> None:
        x, y = (torch.as_tensor(a) for a in (self.x, self.y))
        self._check_options()
        self._check_data(x, y)
        object.__setattr__(self, "x", x.to(self.device))
        object.__setattr__(self, "y", y.to(self.device, torch.int64))

    def __call__(self, cells: Sequence[tuple[Any, int]], indices: Any, checkpoints: Sequence[int] = ()) -> np.ndarray:
        """Labels predicted by the networks of ``cells``.

        Args:
            cells: A list of (train_indices, seed): integers [n] into the pool, of any n for each cell, and a seed of
                at most 64 bits, not negative.
            indices: Pool indices to predict, integers [Q].
            checkpoints: Numbers of epochs to predict after, increasing; none is after the last epoch alone.

        Returns:
            int64 [E, Q], or [E, T, Q] where T checkpoints are asked for.

        Raises:
            ConfigError: A seed is negative or no integer, or checkpoints don't increase within the epochs.
            DataError: An index lies outside of the pool.
            DivergedCells: Logits that are not finite; the error names the cells and holds the labels of the others.
            ShapeError: There are no cells, or indices are not one row of integers.
        """
        logits = self.logits(cells, indices, checkpoints)
        labels = logits.argmax(-1).cpu().numpy()
        diverged = (~logits.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist() if logits.numel() else []
        if diverged:
            labels[diverged] = -1
            named = ", ".join(f"cell {e} (seed {cells[e][1]})" for e in diverged)
            raise DivergedCells(
                f"{self.name}: logits must be finite; got NaN or infinity in {named}. Lower lr.", diverged, labels
            )
        return labels

    def logits(self, cells: Sequence[tuple[Any, int]], indices: Any, checkpoints: Sequence[int] = ()) -> Tensor:
        """The logits behind the labels, [E, Q, C] or [E, T, Q, C], of x's dtype; not finite for cells that diverged."""
        if not len(cells):
            raise ShapeError(f"{self.name}: there must be a cell; got none. Pass (train_indices, seed) pairs.")
        trained = [self._indices(f"train_indices of cell {e}", cell[0]) for e, cell in enumerate(cells)]
        seeds = [self._seed(e, cell[1]) for e, cell in enumerate(cells)]
        if short := [e for e, rows in enumerate(trained) if not len(rows)]:
            raise ShapeError(
                f"{self.name}: a cell must have training samples; got none in cell {short[0]}. Pass [n] indices, n > 0."
            )
        queries = self._indices("indices", indices)
        stops = self._stops(checkpoints)
        out = self.x.new_empty(len(cells), len(stops), len(queries), self.num_classes)
        for members in self._stacks([len(rows) for rows in trained]):
            full = members + members[-1:] * (self.width - len(members))
            rows = torch.stack([trained[e] for e in full])  # [width, n]
            for t, logits in enumerate(self._train(rows, [seeds[e] for e in full], queries, stops)):
                out[members, t] = logits[: len(members)]
        return out if len(checkpoints) else out[:, 0]

    def _stacks(self, sizes: list[int]) -> Iterator[list[int]]:
        """Positions of the cells that are trained together: their n is one, so that all make the same steps."""
        for n in sorted(set(sizes)):
            alike = [e for e, size in enumerate(sizes) if size == n]
            yield from (alike[i : i + self.width] for i in range(0, len(alike), self.width))

    def _train(self, rows: Tensor, seeds: list[int], queries: Tensor, stops: list[int]) -> Iterator[Tensor]:
        """Logits [width, Q, C] at each of the stops."""
        n = rows.shape[1]
        state, parameters = self._start(seeds)
        optimizer = self._optimizer(parameters)
        orders = [order_generator(seed) for seed in seeds]
        whole = self._batch(rows) if n <= self.batch_size else None
        for epoch in range(1, stops[-1] + 1):
            if whole is not None:
                self._backward(state, whole)
                optimizer.step()
            else:
                order = torch.stack([torch.randperm(n, generator=generator) for generator in orders])
                for part in rows.gather(1, order.to(rows.device)).split(self.batch_size, 1):
                    self._backward(state, self._batch(part))
                    optimizer.step()
            if epoch in stops:
                with torch.no_grad():
                    parts = [self._predict(state, part) for part in queries.split(QUERIES)]
                    yield torch.cat(parts, 1) if parts else rows.new_empty(self.width, 0, self.num_classes)

    def _optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        # Both rules work entry by entry, so one optimiser over the stack is each member's own.
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, self.lr, fused=True)
        return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, fused=True)

    @abc.abstractmethod
    def _start(self, seeds: list[int]) -> tuple[Any, list[Tensor]]:
        """The members' state as their seeds draw it, and the stacked parameters to optimise."""

    @abc.abstractmethod
    def _batch(self, rows: Tensor) -> Any:
        """What ``_backward`` needs of the samples ``rows`` [width, b]."""

    @abc.abstractmethod
    def _backward(self, state: Any, batch: Any) -> None:
        """Writes the gradients of each member's mean loss into the parameters."""

    @abc.abstractmethod
    def _predict(self, state: Any, rows: Tensor) -> Tensor:
        """Logits of the samples ``rows`` [q] by each member, [width, q, C]."""

    def _losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """The sum over members of the mean loss of logits [width, b, C] and labels [width, b]."""
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / y.shape[1]

    def _check_options(self) -> None:
        check_choice(self.name, "optimizer", self.optimizer, ("sgd", "adam"))
        if self.optimizer == "adam" and self.momentum:
            raise ConfigError(f"{self.name}: adam has no momentum; got {self.momentum:g}. Leave it out, or take sgd.")
        if not self.lr > 0 or self.momentum < 0:
            got = f"lr={self.lr:g}, momentum={self.momentum:g}"
            raise ConfigError(f"{self.name}: lr must be positive and momentum not negative; got {got}. Correct them.")
        for option in ("num_classes", "batch_size", "epochs"):
            value = integer(self.name, option, getattr(self, option))
            object.__setattr__(self, option, value)
            if value < 1:
                raise ConfigError(f"{self.name}: {option} must be at least 1; got {value}. Pass a larger one.")

    def _check_data(self, x: Tensor, y: Tensor) -> None:
        check_real(self.name, x)
        if y.is_floating_point() or y.dtype in (torch.bool, torch.complex64, torch.complex128):
            raise DataError(f"{self.name}: y must hold integers; got {y.dtype}. Pass class numbers.")
        if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
            got = f"{list(x.shape)} and {list(y.shape)}"
            raise ShapeError(f"{self.name}: x must be [N, ...] and y [N]; got {got}. Pass one label a sample.")
        if not x.isfinite().all():
            row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0, 0])
            raise DataError(
                f"{self.name}: x must be finite; got NaN or infinity in row {row}. Repair this sample, or leave it out."
            )
        if (outside := (y < 0) | (y >= self.num_classes)).any():
            row = int(outside.nonzero()[0, 0])
            raise DataError(
                f"{self.name}: labels must lie in 0..{self.num_classes - 1}; got {int(y[row])} in row {row}. "
                "Check the label map."
            )

    def _indices(self, what: str, given: Any) -> Tensor:
        rows = torch.as_tensor(np.asarray(given))
        if rows.ndim != 1 or (len(rows) and (rows.is_floating_point() or rows.dtype == torch.bool)):
            got = f"{rows.dtype} {list(rows.shape)}"
            raise ShapeError(f"{self.name}: {what} must be integers [n]; got {got}. Pass pool indices.")
        rows = rows.to(self.device, torch.int64)
        if (outside := (rows < 0) | (rows >= len(self.x))).any():
            bad = int(rows[outside][0])
            raise DataError(
                f"{self.name}: {what} must lie in 0..{len(self.x) - 1}; got {bad}. Pass indices into the pool."
            )
        return rows

    def _seed(self, e: int, given: Any) -> int:
        seed = integer(self.name, f"the seed of cell {e}", given)
        if not 0 <= seed < 2**64:
            raise ConfigError(f"{self.name}: a seed must lie in 0..2^64 - 1; got {seed} in cell {e}. Pass another one.")
        return seed

    def _stops(self, checkpoints: Sequence[int]) -> list[int]:
        stops = [integer(self.name, "a checkpoint", t) for t in checkpoints] or [self.epochs]
        if stops[0] < 1 or stops[-1] > self.epochs or any(a >= b for a, b in pairwise(stops)):
            raise ConfigError(
                f"{self.name}: checkpoints must increase within 1..{self.epochs}; got {list(checkpoints)}. "
                "Pass numbers of epochs."
            )
        return stops


def _word(seed: int, stream: int) -> int:
    # torch's generator keeps the low 32 bits of a seed: seeds that differ above them would give the same network.
    return int(np.random.SeedSequence(seed).generate_state(2, np.uint32)[stream])


def initial_seed(seed: int) -> int:
    """The seed of torch's generator from which a cell's initial weights are drawn."""
    return _word(seed, 0)


def order_generator(seed: int) -> torch.Generator:
    """The generator of a cell's batch orders: one ``torch.randperm`` an epoch."""
    return torch.Generator().manual_seed(_word(seed, 1))
