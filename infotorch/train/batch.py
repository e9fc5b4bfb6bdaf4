"""What a loader hands out: inputs, labels, and ids where the samples have them."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from infotorch.errors import DataError
from infotorch.task.nest import num_samples, select

__all__ = ["Batch", "Loader", "batch_of"]


class Loader(Protocol):
    """Batches, anew in each iteration: a DataLoader, or a list."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one step."""

    inputs: Any
    """A tensor [N, ...], or a nest of dicts, tuples and lists of them."""
    labels: Tensor
    """int64 [N] or [N, T], -100 where there is none; or probabilities, float, [..., C], or [N] for one logit."""
    ids: Tensor | None
    """int64 [N], at least 0."""

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Batch":
        """The batch on ``device``; ids stay on the CPU."""
        return Batch(inputs=_to(self.inputs, device), labels=self.labels.to(device, non_blocking=True), ids=self.ids)

    def rows(self, rows: slice) -> "Batch":
        """Some of the samples."""
        return Batch(
            inputs=select(self.inputs, rows),
            labels=self.labels[rows],
            ids=None if self.ids is None else self.ids[rows],
        )

    def parts(self, count: int) -> list["Batch"]:
        """The samples in ``count`` parts whose sizes differ by one at most; fewer parts where samples are fewer."""
        edges = [len(self) * k // count for k in range(count + 1)]
        slices = [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]
        if len(slices) < 2:
            return [self]
        return [self.rows(rows) for rows in slices]


def batch_of(where: str, item: Any) -> Batch:
    """The batch in a loader's item: (inputs, labels), (inputs, labels, ids), or a dict with these keys.

    Raises:
        DataError: Another form, or lengths that disagree, or ids that are no int64 numbers from 0.
    """
    if isinstance(item, Mapping) and "inputs" in item and "labels" in item:
        inputs, labels, ids = item["inputs"], item["labels"], item.get("ids")
    elif isinstance(item, (tuple, list)) and len(item) in (2, 3):
        inputs, labels, ids = (*item, None)[:3]
    else:
        got = f"keys {sorted(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
        if isinstance(item, (tuple, list)):
            got = f"{len(item)} entries"
        raise DataError(
            f"{where}: a batch must be (inputs, labels), (inputs, labels, ids) or a dict with these keys; got {got}. "
            "Let the data set return them so."
        )
    if not isinstance(labels, Tensor) or not labels.dim():
        got = f"{labels.dtype} []" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(f"{where}: labels must be a tensor [N, ...]; got {got}. Convert them with torch.as_tensor.")
    if not labels.is_floating_point() and labels.dtype != torch.bool:
        labels = labels.long()  # as torch's losses want them
    N = num_samples(inputs) if len(labels) else 0
    if N != len(labels):
        raise DataError(f"{where}: inputs and labels must agree on N; got {N} and {len(labels)}. Collate both alike.")
    if ids is not None:
        if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.shape != (N,):
            got = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise DataError(f"{where}: ids must be int64 [{N}]; got {got}. Let the data set return its index.")
        ids = ids.cpu()
        if N and int(ids.min()) < 0:
            raise DataError(f"{where}: ids must be at least 0; got {int(ids.min())}. Number the samples from 0.")
    return Batch(inputs=inputs, labels=labels, ids=ids)


def _to(inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    if isinstance(inputs, dict):
        return {key: _to(value, device) for key, value in inputs.items()}
    return type(inputs)(_to(value, device) for value in inputs)
