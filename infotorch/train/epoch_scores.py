"""Exponential means over epochs of a number that each step gives of its samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.train.ranks import gathered

__all__ = ["EpochScores"]

DECAY = 0.8
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""ids, numbers and steps, [N] each."""
_ROOM = 1 << 16  # rows kept before samples that come again within an epoch are dropped


class EpochScores:
    """One float32 a sample: the mean over epochs, in which the mean so far weighs 0.8. Keyed by id."""

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int64)
        """Samples seen in ended epochs, sorted."""
        self.values = np.empty(0, np.float32)
        """Their means."""
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._rows, self._unique = 0, 0

    def add(self, ids: Tensor, values: Tensor, step: int) -> None:
        """A step's numbers [N] of its samples, NaN for one without; what comes first in an epoch counts."""
        self._pending.append((ids, values.detach().float(), torch.full_like(ids, step)))
        self._rows += len(ids)
        if self._rows > 2 * self._unique + _ROOM:
            self._set_pending(self._first())

    def end_epoch(self) -> None:
        """Takes all ranks' numbers of this epoch into the means."""
        ids, values, _ = _first_of(_joined(gathered(self._first())))
        self._set_pending(_joined([]))
        known = np.isin(ids, self.ids, assume_unique=True)
        before = self.values[np.searchsorted(self.ids, ids[known])]
        values[known] = np.float32(DECAY) * before + np.float32(1 - DECAY) * values[known]
        absent = ~np.isin(self.ids, ids, assume_unique=True)
        ids, values = np.concatenate([self.ids[absent], ids]), np.concatenate([self.values[absent], values])
        order = np.argsort(ids)
        self.ids, self.values = ids[order], values[order]

    def state_dict(self) -> dict[str, Any]:
        """Means, and what this epoch has added on every rank so far."""
        return {
            "ids": torch.from_numpy(self.ids),
            "values": torch.from_numpy(self.values),
            "pending": [tuple(map(torch.from_numpy, part)) for part in gathered(self._first())],
        }

    def load_state_dict(self, state: dict[str, Any], rank: int, world_size: int) -> None:
        """Goes on from ``state_dict``; what more ranks had added than there are now is dealt out among these."""
        self.ids, self.values = state["ids"].numpy(), state["values"].numpy()
        mine = state["pending"][rank::world_size]
        self._set_pending(_joined([tuple(column.numpy() for column in part) for part in mine]))

    def _first(self) -> Rows:
        """This rank's samples of the epoch, each once."""
        parts = [tuple(column.cpu().numpy() for column in part) for part in self._pending]
        ids, values, steps = _joined(parts)  # type: ignore[arg-type]  # three each
        there = ~np.isnan(values)
        return _first_of((ids[there], values[there], steps[there]))

    def _set_pending(self, rows: Rows) -> None:
        ids, values, steps = map(torch.from_numpy, rows)
        self._pending = [(ids, values, steps)]
        self._rows = self._unique = len(ids)


def _joined(parts: list[Rows]) -> Rows:
    ids, values, steps = (np.concatenate([part[k] for part in parts]) if parts else np.empty(0) for k in range(3))
    return ids.astype(np.int64), values.astype(np.float32), steps.astype(np.int64)


def _first_of(rows: Rows) -> Rows:
    """Each sample once: that of its first step and, within, of its first rank."""
    order = np.argsort(rows[2], kind="stable")
    ids, values, steps = (column[order] for column in rows)
    unique, first = np.unique(ids, return_index=True)
    return unique, values[first], steps[first]
