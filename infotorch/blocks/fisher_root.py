"""The Fisher information's root as an operator: products with it and with its transpose, and no row of it formed."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.directional import jvp
from infotorch.blocks.linearize import add_pulled_back
from infotorch.blocks.loading import each_batch, is_loader, of_batch
from infotorch.errors import ConfigError, DataError
from infotorch.task import Task

__all__ = ["FisherRoot"]

SAME = 1e-3
"""Outputs of a batch that change by more than this between passes, relative to the largest, are of other samples."""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What is kept of a batch."""

    outputs: Tensor
    """[N, *T, C]."""
    S: Tensor
    """[N, *T, C, R], the root of the output Hessian."""

    @property
    def num_rows(self) -> int:
        return self.S.shape[:-2].numel() * self.S.shape[-1]


class FisherRoot:
    r"""G [M, P] with :math:`F = G^\top G = \sum_n J_n^\top S_n S_n^\top J_n`, S S^T the loss's Hessian in the outputs.

    A row is a column of S at one sample and position: M = N R, with R = C - 1 for cross-entropy, C for squared error, 1
    for binary cross-entropy. S is kept, [N, *T, C, R]. A product with G takes a forward-mode pass over the data, one
    with its transpose a backward; layers of every kind will do. Sums over batches are in float64.

    Args:
        where: Who asks, for refusals.
        task: Model, loss and parameters.
        data: (x, y) or a dict; or a DataLoader of them, that gives the same batches in every pass.

    Raises:
        ConfigError: The model is in train mode, or the data can be read once only.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails.
        NotSupported: The loss is a function, whose output Hessian nobody knows.
    """

    def __init__(self, where: str, task: Task, data: Any) -> None:
        if isinstance(data, Iterator):
            raise ConfigError(
                f"{where}: data must be readable in several passes; got a {type(data).__name__}. "
                "Pass (x, y), or a DataLoader that does not shuffle."
            )
        self.where, self.task, self.data = where, task, data
        with torch.no_grad():
            self.kept = [
                self._kept(number, batch) for number, batch in enumerate(each_batch(self.where, self.task, self.data))
            ]

    @property
    def num_rows(self) -> int:
        """M."""
        return sum(kept.num_rows for kept in self.kept)

    @torch.no_grad()
    def times(self, v: Mapping[str, Tensor]) -> Tensor:
        """G v, float64 [M], for {name: [*shape]} of every selected parameter."""
        found = []
        for kept, x in self._again():
            moved = jvp(self.task, x, v, seeds="logits").view_as(kept.outputs)
            found.append(torch.einsum("...cr,...c->...r", kept.S, moved.to(kept.S.dtype)).flatten().double())
        return torch.cat(found)

    def transposed(self, u: Tensor) -> dict[str, Tensor]:
        """G^T u, float64 {name: [*shape]}, for u [M].

        Raises:
            DataError: The loader gave other samples than in the first pass.
        """
        total: dict[str, Tensor] = {}
        rows = u.split([kept.num_rows for kept in self.kept])
        for (kept, x), own in zip(self._again(), rows, strict=True):
            own = own.view(*kept.S.shape[:-2], -1).to(kept.S.dtype)
            with torch.enable_grad():
                outputs = self.task.outputs(x)
            self._check_same(kept, outputs)
            sent = torch.einsum("...cr,...r->...c", kept.S, own).to(outputs.dtype)
            add_pulled_back(total, self.task, outputs, sent)
        return total

    def _kept(self, number: int, batch: Any) -> _Batch:
        with of_batch(number, is_loader(self.data)):
            y = self.task.labels(batch)
            if y is None:
                x = self.task.inputs(batch)
                self.task.check_inputs(x)
            else:
                x, y = self.task.split(batch)
            outputs = self.task.outputs(x)
            return _Batch(outputs=outputs, S=self.task.criterion.hessian_sqrt(outputs, y))

    def _again(self) -> Iterator[tuple[_Batch, Any]]:
        """What was kept of every batch, with its inputs."""
        for kept, batch in itertools.zip_longest(self.kept, each_batch(self.where, self.task, self.data)):
            if kept is None or batch is None:
                raise self._changed("another number of batches")
            yield kept, self.task.inputs(batch)

    def _check_same(self, kept: _Batch, outputs: Tensor) -> None:
        same = outputs.shape == kept.outputs.shape
        if not same or (outputs.detach() - kept.outputs).abs().max() > SAME * kept.outputs.abs().max():
            raise self._changed("a batch with other outputs")

    def _changed(self, got: str) -> DataError:
        return DataError(
            f"{self.where}: the loader must give the same batches in every pass; got {got} in a later one. "
            "Pass a loader that neither shuffles nor augments."
        )
