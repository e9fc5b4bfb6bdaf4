"""Batches of one pass over the data after the other, from where a checkpoint left off."""

from collections.abc import Iterable, Iterator
from typing import Any

from infotorch.errors import DataError
from infotorch.train import rng
from infotorch.train.ranks import set_epoch

__all__ = ["Cycle"]


class Cycle:
    """An endless iterator over ``data``, begun anew at each end.

    Args:
        where: Who asks, in errors.
        data: Batches, anew in each iteration.
    """

    def __init__(self, where: str, data: Iterable[Any]) -> None:
        self.where, self.data = where, data
        self.epoch = 0
        """Passes ended."""
        self.position = 0
        """Batches of this pass that were handed out."""
        self.epoch_rng: dict[str, Any] | None = None
        """States of all generators at the start of this pass."""
        self._loaded: dict[str, Any] | None = None

    def resume(self, epoch: int, position: int, epoch_rng: dict[str, Any], now: dict[str, Any]) -> None:
        """Goes on behind batch ``position`` of pass ``epoch``; then all generators are in the states ``now``."""
        self.epoch, self.position, self.epoch_rng, self._loaded = epoch, position, epoch_rng, now

    def __iter__(self) -> Iterator[Any]:
        """Batches without end.

        Raises:
            DataError: A pass has none.
        """
        while True:
            for batch in self._rest():
                self.position += 1
                yield batch
            if not self.position:
                got, todo = "none", "Check its split"
                if self.epoch:
                    got, todo = f"none in pass {self.epoch + 1}", "Pass a list or a DataLoader, not an iterator"
                raise DataError(f"{self.where}: data must give at least one batch in each pass; got {got}. {todo}.")
            self.epoch, self.position = self.epoch + 1, 0

    def _rest(self) -> Iterator[Any]:
        """This pass's batches that are still to come.

        A pass that was broken off is drawn again from its start, so that the order is its own; then the generators are
        set to where they were.
        """
        set_epoch(self.data, self.epoch)
        now, self._loaded = self._loaded, None
        if now is None or self.epoch_rng is None:
            self.epoch_rng = rng.states(self.data)
            return iter(self.data)
        rng.restore(self.epoch_rng, self.data)
        batches = iter(self.data)
        for _ in range(self.position):
            if next(batches, None) is None:
                raise DataError(
                    f"{self.where}: data must be those of the checkpoint, of {self.position} batches or more a pass; "
                    "got fewer. Pass the same."
                )
        rng.restore(now, self.data)
        return batches
