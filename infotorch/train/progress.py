"""A training seen from the terminal: one live line, or a plain line each ten seconds where stderr is none."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

from rich import progress as bars
from rich.console import Console

from infotorch.measures.label_info import NLL

__all__ = ["TrainingBar", "summary"]


EVERY = 10.0  # seconds between plain lines


class TrainingBar:
    """Shows epoch, steps, accuracy on noisy validation labels and nats so far.

    Args:
        epochs: Epochs in all.
        shown: ``False`` shows nothing; ``None`` shows a live line on a terminal and nothing elsewhere; ``True`` writes
            plain lines elsewhere: of an epoch that ends ten seconds after the last line or later, and of the last one.
        file: Where to; default stderr.
        name: Of the training.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        epochs: int,
        shown: bool | None,
        file: TextIO | None = None,
        *,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = f"{name} epoch".lstrip()
        self._clock, self._shown = clock, clock()
        self._file = sys.stderr if file is None else file
        self._epochs = epochs
        terminal = self._file.isatty()
        self._plain = bool(shown) and not terminal
        self._live = shown is not False and terminal
        self._last: Mapping[str, Any] = {}
        self._bar: bars.Progress | None = None

    def __enter__(self) -> "TrainingBar":
        if self._live:
            self._bar = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=None),
                bars.TimeRemainingColumn(),
                bars.TextColumn("{task.fields[found]}", markup=False),
                console=Console(file=self._file, highlight=False),
                auto_refresh=False,  # a drawing thread would be forked into the workers of a DataLoader
            )
            self._bar.start()
            self._line = self._bar.add_task("", total=None, found="", visible=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A step was done: the ``done``-th of ``total`` of this epoch, counted from 0."""
        if self._bar is not None:
            found = summary(self._last) or f"loss {loss:.3g}"
            name = f"{self._name} {epoch + 1}/{self._epochs}"
            done, total = epoch * total + done, self._epochs * total
            self._bar.update(self._line, description=name, completed=done, total=total, found=found, visible=True)
            self._bar.refresh()

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """An epoch ended with this entry of the history."""
        self._last = entry
        if self._plain and (self._clock() - self._shown >= EVERY or entry["epoch"] + 1 == self._epochs):
            self._shown = self._clock()
            line = f"{self._name} {entry['epoch'] + 1}/{self._epochs}: loss {entry['loss']:.4g} {summary(entry)}"
            print(line.rstrip(), file=self._file, flush=True)


def summary(entry: Mapping[str, Any]) -> str:
    """``noisy val 81.2 ± 0.9 %, 12.3 nats passed on``, of what the entry has."""
    found = []
    if entry.get("val_acc") is not None:
        found.append(f"noisy val {100 * entry['val_acc']:.1f} ± {100 * entry['val_stderr']:.1f} %")
    if entry.get("nats") is not None and entry["nats_of"] != NLL:  # a density's logarithm tells nobody anything here
        found.append(f"{entry['nats']:.4g} nats {entry['nats_of']}")
    return ", ".join(found)
