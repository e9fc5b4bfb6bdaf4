"""Exponential means over epochs of a number that each step gives of its samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.train.ranks import gathered

__all__ = ["EpochScores"]

DECAY = 0.8
_ROOM = 1 << 16  # rows kept before samples that come again within an epoch are dropped


class EpochScores:
    """One float32 a sample: the mean over epochs, of which each weighs 0.8 of the next one. Keyed by id."""

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int64)
        """Samples seen in ended epochs, sorted."""
        self.values = np.empty(0, np.float32)
        """Their means."""
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._rows, self._unique = 0, 0

    def add(self, ids: Tensor, values: Tensor) -> None:
        """A step's numbers [N] of its samples, NaN for one without; what comes first in an epoch counts."""
        self._pending.append((ids, values.detach().float()))
        self._rows += len(ids)
        if self._rows > 2 * self._unique + _ROOM:
            self._set_pending(*self._first())

    def end_epoch(self) -> None:
        """Takes all ranks' numbers of this epoch into the means."""
        ranks = gathered(self._first())
        ids, values = _first_of(*(np.concatenate([part[k] for part in ranks]) for k in (0, 1)))
        self._pending, self._rows, self._unique = [], 0, 0
        old = np.isin(self.ids, ids, assume_unique=True)
        place = np.searchsorted(self.ids, ids)
        known = np.isin(ids, self.ids, assume_unique=True)
        mean = values.astype(np.float32)
        mean[known] = np.float32(DECAY) * self.values[place[known]] + np.float32(1 - DECAY) * mean[known]
        ids, mean = np.concatenate([self.ids[~old], ids]), np.concatenate([self.values[~old], mean])
        order = np.argsort(ids)
        self.ids, self.values = ids[order], mean[order]

    def state_dict(self) -> dict[str, Any]:
        """Means, and what this epoch has added on every rank so far."""
        return {
            "ids": torch.from_numpy(self.ids),
            "values": torch.from_numpy(self.values),
            "pending": [tuple(map(torch.from_numpy, part)) for part in gathered(self._first())],
        }

    def load_state_dict(self, state: dict[str, Any], rank: int) -> None:
        """Goes on from ``state_dict``."""
        self.ids, self.values = state["ids"].numpy(), state["values"].numpy()
        ids, values = (
            state["pending"][rank] if rank < len(state["pending"]) else (torch.empty(0).long(), torch.empty(0))
        )
        self._set_pending(ids.numpy(), values.numpy())

    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        """This rank's samples of the epoch, each once."""
        if not self._pending:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        ids, values = (torch.cat([part[k].cpu() for part in self._pending]).numpy() for k in (0, 1))
        return _first_of(ids[~np.isnan(values)], values[~np.isnan(values)])

    def _set_pending(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._pending = [(torch.from_numpy(ids), torch.from_numpy(values))]
        self._rows = self._unique = len(ids)


def _first_of(ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, first = np.unique(ids, return_index=True)
    return unique, values[first]
