"""The batches of a loader, one after the other, each on the model's device before it is asked for."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.progress import Progress
from infotorch.capture import Capture
from infotorch.capture.seeds import Seeds
from infotorch.errors import ConfigError, DataError
from infotorch.task import Task, mapped

__all__ = ["batches", "each_batch", "is_loader", "of_batch", "refuse_loader", "seeds_of_batch"]


def is_loader(batch: Any) -> bool:
    """A DataLoader, a generator, or whatever else gives batches and is not one itself."""
    return isinstance(batch, Iterable) and not isinstance(batch, (Tensor, Mapping, tuple, list))


def refuse_loader(where: str, batch: Any) -> None:
    if is_loader(batch):
        raise ConfigError(
            f"{where}: batch must be one batch, (x, y) or a dict; got {type(batch).__name__}. "
            "Call it for each batch of the loader."
        )


def batches(where: str, task: Task | Capture, loader: Any, progress: Progress | None = None) -> Iterator[Any]:
    """Batches in the loader's order, in one pass.

    To a GPU the next batch is copied from pinned memory while the last one is worked on.

    Raises:
        DataError: The loader failed, or gave nothing.
    """
    if isinstance(task, Capture):
        raise ConfigError(f"{where}: a Capture must come alone; got a loader beside it. Pass the task.")
    device = next(iter(task.parameters().values())).device
    total = len(loader) if hasattr(loader, "__len__") else 0
    done = 0
    for batch in _ahead(_numbered(where, loader), device):
        yield batch
        done += 1
        if progress is not None:
            progress("batches", done, total)
    if not done:
        raise DataError(
            f"{where}: the loader must give at least one batch; got none. A generator gives its batches once: make a "
            "new one for every call."
        )


def each_batch(where: str, task: Task | Capture, data: Any, progress: Progress | None = None) -> Iterator[Any]:
    """Batches of a loader as :func:`batches` gives them; or the one batch that the data are."""
    return batches(where, task, data, progress) if is_loader(data) else iter((data,))


@contextmanager
def of_batch(number: int, loader: bool) -> Iterator[None]:
    """What is wrong with a loader's batch is told with its number; samples count within it."""
    try:
        yield
    except DataError as error:
        if not loader:
            raise
        raise DataError(f"{error} Samples count within a batch: this is batch {number} of the loader.") from error


def seeds_of_batch(seeds: Seeds | None, number: int) -> Seeds | None:
    """What to capture for a loader's batch: draws of one batch do not depend on those of another."""
    if number == 0 or not isinstance(seeds, tuple) or len(seeds) != 3:
        return seeds
    kind, draws, seed = seeds
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=4).digest()  # torch reads 32 bits of a seed
    return kind, draws, int.from_bytes(digest, "little")


class _Failing:
    """What a loader raises, with the number of the batch; an interrupt is left as it is."""

    def __init__(self, where: str) -> None:
        self.where, self.number = where, 0

    def __enter__(self) -> "_Failing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            raise DataError(
                f"{self.where}: the loader must give every batch; got {type(error).__name__} at batch {self.number}: "
                f"{error}. Look at the samples of that batch."
            ) from error


def _numbered(where: str, loader: Any) -> Iterator[Any]:
    failing, given = _Failing(where), None
    with failing:
        given = iter(loader)
    end = object()
    while True:
        with failing:
            batch = next(given, end)
        if batch is end:
            return
        yield batch
        failing.number += 1


def _ahead(source: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """Each batch on the device; on a GPU the copy of the next one is under way meanwhile."""
    if device.type != "cuda":
        yield from (_moved(batch, device) for batch in source)
        return
    stream = torch.cuda.Stream(device)
    held = None
    for batch in source:
        with torch.cuda.stream(stream):
            coming = _moved(batch, device)
        if held is not None:
            yield held
        torch.cuda.current_stream(device).wait_stream(stream)
        held = _on_current_stream(coming, device)
    if held is not None:
        yield held


def _moved(batch: Any, device: torch.device) -> Any:
    def move(tensor: Tensor) -> Tensor:
        if tensor.device == device:
            return tensor
        pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
        return pinned.to(device, non_blocking=True)

    return mapped(move, batch)


def _on_current_stream(batch: Any, device: torch.device) -> Any:
    """Tensors made on another stream are not reused before the current one is done with them."""

    def keep(tensor: Tensor) -> Tensor:
        tensor.record_stream(torch.cuda.current_stream(device))
        return tensor

    return mapped(keep, batch)
