"""Pairs of rows that point the same way, all of them, in blocks that fit the memory."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError
from infotorch.store.features import FeatureStore

BLOCK_BYTES = 1 << 26
"""Of one block of rows; a handful of such blocks are in memory at once."""
BLOCK_ROWS = 4096
MAX_PAIRS = 10_000_000


class Rows(Protocol):
    """N rows of K numbers, read block by block."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) as [n, K], float32 or float64."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Rows of an array [N, ...]."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def read(self, start: int, stop: int) -> Tensor:
        rows = self.values[start:stop].detach().cpu().flatten(1)
        return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


@dataclass(frozen=True)
class OnDisk:
    """Features [C, k] of each sample as one row of C k numbers."""

    store: FeatureStore

    def __len__(self) -> int:
        return self.store.num_rows

    def read(self, start: int, stop: int) -> Tensor:
        parts = [part.read(first, last)[0] for part, first, last in self.store.between(start, stop)]
        return torch.from_numpy(np.concatenate(parts)).flatten(1)


Progress = Callable[[str, int, int], None]


def similar_pairs(
    rows: Rows, threshold: float, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of rows whose cosine is at least ``threshold``, and all pairs of equal rows.

    Cosines of all pairs are products in the rows' dtype, N² K flops; those that rounding may have put on the wrong side
    of the threshold are decided in float64. With a threshold of 1 only equal rows are looked for, in one pass.

    Returns:
        Positions int64 [P, 2], the smaller first; cosines float64 [P]; whether the rows are equal to the bit, bool [P].
        Sorted by cosine, the largest first, then by position.

    Raises:
        DataError: A row is not finite; the text names it.
        ConfigError: There are more than 10 million pairs.
    """
    size = _block_rows(rows)
    blocks = [(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    same, norms = _looked_at(rows, blocks)
    pairs = [_equal_pairs(same)]
    cosines = [np.ones(len(pairs[0]))]
    num_exact = len(pairs[0])
    total, done = len(blocks) * (len(blocks) + 1) // 2, 0
    for place, block in enumerate(blocks if threshold < 1 else ()):
        a = rows.read(*block)
        for other in blocks[place:]:
            b = a if other == block else rows.read(*other)
            near, cosine = _between(a, b, norms[slice(*block)], norms[slice(*other)], threshold)
            near += np.array([block[0], other[0]])
            new = (near[:, 0] < near[:, 1]) & (same[near[:, 0]] != same[near[:, 1]])
            pairs.append(near[new])
            cosines.append(cosine[new])
            _check_number(sum(map(len, pairs)), threshold)
            done += 1
            if progress:
                progress("comparing samples", done, total)
    found, cosine = np.concatenate(pairs), np.concatenate(cosines)
    exact = np.arange(len(found)) < num_exact
    order = np.lexsort((found[:, 1], found[:, 0], ~exact, -cosine))
    return found[order], cosine[order], exact[order]


def _block_rows(rows: Rows) -> int:
    row = rows.read(0, 1)
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, row.nbytes)))


def _looked_at(rows: Rows, blocks: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """For each row the first row that equals it, int64 [N], and its length, float64 [N]."""
    first: dict[bytes, int] = {}
    same, norms = np.empty(len(rows), np.int64), np.empty(len(rows))
    for start, stop in blocks:
        block = rows.read(start, stop) + 0.0  # -0 becomes 0, which it equals
        bad = ~block.isfinite().all(1)
        if bad.any():
            raise DataError(
                f"duplicates: rows must be finite; got nan or inf in sample {start + int(bad.int().argmax())}. "
                "Look at this sample's input."
            )
        norms[start:stop] = block.double().norm(dim=1).numpy()
        for place, row in enumerate(block.numpy()):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            same[start + place] = first.setdefault(digest, start + place)
    return same, norms


def _equal_pairs(same: np.ndarray) -> np.ndarray:
    """All pairs of equal rows, [P, 2]."""
    order = np.argsort(same, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(same[order])) + 1)
    groups = [group for group in groups if len(group) > 1]
    _check_number(sum(len(group) * (len(group) - 1) // 2 for group in groups), 1.0)
    found = [pair for group in groups for pair in combinations(group.tolist(), 2)]
    return np.array(found, np.int64).reshape(-1, 2)


def _between(
    a: Tensor, b: Tensor, norms_a: np.ndarray, norms_b: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [P, 2] in two blocks and cosines [P] of the pairs at or above the threshold."""

    def unit(rows: Tensor, norms: np.ndarray) -> Tensor:
        lengths = torch.from_numpy(np.where(norms > 0, norms, 1.0))[:, None]
        return (rows / lengths).to(rows.dtype)

    # A sum of K products of unit rows is off by K units of rounding at most, their own rounding by two more.
    margin = (a.shape[1] + 4) * torch.finfo(a.dtype).eps / 2
    found = (unit(a, norms_a) @ unit(b, norms_b).mT >= threshold - margin).nonzero().numpy()
    _check_number(len(found), threshold)
    cosines = np.concatenate([np.zeros(0), *(_cosines(a, b, some) for some in _chunks(found, a.shape[1]))])
    cosines /= norms_a[found[:, 0]] * norms_b[found[:, 1]]
    kept = cosines >= threshold
    return found[kept], np.minimum(cosines[kept], 1.0)


def _chunks(found: np.ndarray, width: int) -> Iterator[np.ndarray]:
    step = max(1, BLOCK_BYTES // (8 * width))
    return (found[start : start + step] for start in range(0, len(found), step))


def _cosines(a: Tensor, b: Tensor, pairs: np.ndarray) -> np.ndarray:
    """Inner products in float64, [P]."""
    return (a[pairs[:, 0]].double() * b[pairs[:, 1]].double()).sum(1).numpy()


def _check_number(num_pairs: int, threshold: float) -> None:
    if num_pairs > MAX_PAIRS:
        raise ConfigError(
            f"duplicates: pairs must be at most {MAX_PAIRS:,}; got more at threshold {threshold:g}. "
            + ("Raise the threshold." if threshold < 1 else "Leave out what all these samples share.")
        )
