"""Inputs of a data set that does not fit the memory: read when they are asked for, and held to what they were."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import DataError

__all__ = ["Scan", "StreamedInputs", "batches_of", "hashes_of", "inputs_digest", "row_hashes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedInputs:
    """Inputs [N, ...] behind a reader. ``inputs[rows]``, for a slice or places, reads them anew.

    Raises:
        DataError: A row is not what it was at the first look: the data set is drawn, augmented or ordered at random, or
            was changed.
    """

    read: Callable[[Sequence[Sequence[int]]], Iterator[Tensor]]
    """A batch [n, ...] for every sequence of places."""
    hashes: np.ndarray
    """Of every row, uint64 [N]."""
    shape: torch.Size
    dtype: torch.dtype
    span: tuple[float, float]
    """The smallest and the largest number."""
    device: str | torch.device = "cpu"
    """Where rows are put."""

    def __len__(self) -> int:
        """N."""
        return len(self.hashes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        places = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows.tolist()
        empty = torch.empty(0, *self.shape[1:], dtype=self.dtype, device=self.device)
        return torch.cat([empty, *self.batches(places, BATCH)])

    def batches(self, places: Sequence[int], size: int) -> Iterator[Tensor]:
        """The inputs at ``places``, ``size`` at a time."""
        wanted = [places[start : start + size] for start in range(0, len(places), size)]
        for these, x in zip(wanted, self.read(wanted), strict=True):
            got = f"{x.dtype} {[len(x), *x.shape[1:]]} for {len(these)} samples from sample {these[0]} on"
            if len(x) != len(these) or x.shape[1:] != self.shape[1:] or x.dtype != self.dtype:
                raise DataError(f"data: {CHANGED}, {self.dtype} {list(self.shape[1:])}; got {got}. {REMEDY}")
            differ = np.flatnonzero(row_hashes(x) != self.hashes[these])
            if len(differ):
                raise DataError(f"data: {CHANGED}; got another sample {these[int(differ[0])]}. {REMEDY}")
            yield x.to(self.device)


BATCH = 256
CHANGED = "inputs must be the same whenever they are read"
REMEDY = "Switch shuffling and random augmentation off, and leave the data as they are while a run goes on."


class Scan:
    """The first look at inputs that go by in batches: what they are known by later."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._span = (np.inf, -np.inf)
        self._first: Tensor | None = None
        self._num = 0

    def add(self, x: Tensor) -> None:
        """The next batch, [n, ...] of one shape and dtype."""
        if self._first is None:
            self._first = x[:1].clone()
        first, last = self._first, self._num
        if x.dtype != first.dtype or x.shape[1:] != first.shape[1:]:
            raise DataError(
                f"data: x must have one shape and dtype in all samples, {first.dtype} {list(first.shape[1:])}; got "
                f"{x.dtype} {list(x.shape[1:])} from sample {last} on. Pad or crop the samples."
            )
        finite = x.isfinite().flatten(1).all(1) if x.is_floating_point() and x.ndim > 1 else x.isfinite()
        if not finite.all():
            row = int((~finite).int().argmax())
            wrong = x[row][~x[row].isfinite()].flatten()[0]
            raise DataError(
                f"data: x must be finite; got {float(wrong)} in sample {last + row}. Correct it, or leave it out."
            )
        self._hashes.append(row_hashes(x))
        self._num += len(x)
        self._span = min(self._span[0], float(x.min())), max(self._span[1], float(x.max()))

    def inputs(self, read: Callable[[Sequence[Sequence[int]]], Iterator[Tensor]]) -> StreamedInputs:
        """What ``read`` must give from now on."""
        assert self._first is not None
        hashes = np.concatenate(self._hashes)
        return StreamedInputs(
            read=read,
            hashes=hashes,
            shape=torch.Size((len(hashes), *self._first.shape[1:])),
            dtype=self._first.dtype,
            span=self._span,
        )


def batches_of(x: Tensor | StreamedInputs, start: int, stop: int, size: int) -> Iterator[Tensor]:
    """Rows [start, stop), ``size`` at a time."""
    if isinstance(x, Tensor):
        return (x[first : min(first + size, stop)] for first in range(start, stop, size))
    return x.batches(range(start, stop), size)


def bytes_of(x: Tensor) -> memoryview:
    return x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def row_hashes(x: Tensor) -> np.ndarray:
    """64 bits of every row of ``x`` [n, ...], uint64 [n]."""
    data, size = bytes_of(x), x[:1].nbytes
    hashes = (hashlib.blake2b(data[n * size : (n + 1) * size], digest_size=8).digest() for n in range(len(x)))
    return np.frombuffer(b"".join(hashes), dtype=np.uint64)


def hashes_of(x: Tensor | StreamedInputs, start: int, stop: int) -> np.ndarray:
    """``row_hashes`` of rows [start, stop), which are not read anew where they are streamed."""
    return row_hashes(x[start:stop]) if isinstance(x, Tensor) else x.hashes[start:stop]


def inputs_digest(x: Tensor | StreamedInputs) -> str:
    """SHA-256 of the hashes of all rows, in order: from any parts of the rows it is the same."""
    sha256 = hashlib.sha256()
    for start in range(0, len(x), BATCH):
        sha256.update(hashes_of(x, start, min(start + BATCH, len(x))).tobytes())
    return sha256.hexdigest()
