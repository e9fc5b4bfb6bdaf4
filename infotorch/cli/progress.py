"""Progress: one live line on a terminal; elsewhere a plain line every ten seconds and at the end of each stage."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich import progress as bars
from rich.console import Console

from infotorch.cli.text import count, plain

EVERY = 10.0  # seconds between plain lines
REFRESH = 0.1  # seconds between redrawings of the live line


class Progress:
    """``progress(stage, done, total)`` as every room calls it, some with a note, shown to a person.

    Args:
        quiet: Show nothing.
        live: Draw one line over and over on stderr, which is a terminal.
        clock: Seconds that only grow.
    """

    def __init__(self, *, quiet: bool, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._live, self._clock = quiet, live, clock
        self._stage: str | None = None
        self._ended: set[str] = set()
        self._begun = 0.0
        self._shown = clock()
        self._first = self._done = 0
        self._bar: bars.Progress | None = None

    def __enter__(self) -> "Progress":
        if self._live and not self._quiet:
            self._bar = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=None),
                bars.TextColumn("{task.fields[pace]}", markup=False, justify="right"),
                console=Console(file=sys.stderr, highlight=False),
                expand=True,
                transient=True,
                auto_refresh=False,  # a drawing thread would be forked into the workers of a DataLoader
            )
            self._bar.start()
            self._line = self._bar.add_task("", total=None, pace="", visible=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Shows that ``done`` of ``total`` are done of a stage, and what else is known so far."""
        if self._quiet:
            return
        now = self._clock()
        new = stage != self._stage or done < self._done
        if new:
            self._stage, self._begun, self._first = stage, now, done
        self._done = done
        due = now - self._shown >= (EVERY if self._bar is None else REFRESH)
        first_end = done >= total and stage not in self._ended
        if not due and not first_end and not (new and self._bar):  # a stage run once for each batch is told of once
            return
        if done >= total:
            self._ended.add(stage)
        self._shown = now
        pace = "  ".join(part for part in (self.pace(done, total, now - self._begun), note) if part)
        if self._bar is None:
            print(f"{plain(stage, 40)}: {pace}", file=sys.stderr, flush=True)
        else:
            self._bar.update(
                self._line, description=plain(stage, 28), completed=done, total=total, pace=pace, visible=True
            )
            self._bar.refresh()

    def pace(self, done: int, total: int, seconds: float) -> str:
        """``done/total``, then rate and time left, or the time taken at the end."""
        counts = f"{count(done)}/{count(total)}"
        rate = (done - self._first) / seconds if seconds > 0 else 0.0
        if done >= total:
            return f"{counts} in {duration(seconds)}"
        if rate == 0:
            return counts
        return f"{counts}  {short(rate)}/s  {duration((total - done) / rate)} left"


def short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.2g}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``3:12:30``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
