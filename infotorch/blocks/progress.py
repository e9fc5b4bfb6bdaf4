"""How far a call is: told to the caller's own function, or drawn as a bar."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console

__all__ = ["Progress", "Shown", "shown"]

Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all); 0 in all where nobody knows, as of a loader without a length."""
Shown = Progress | bool | None
"""A function to call, True for a bar, None or False for nothing."""

REFRESH = 0.1  # seconds between redrawings


@contextmanager
def shown(progress: Shown) -> Iterator[Progress | None]:
    """What to call after each step.

    A bar stands on stderr, with steps done, rate's time left and time taken, till the block ends, however it does;
    where stderr is no terminal its last state is printed alone.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    # A thread that draws would be forked into the workers of a DataLoader.
    with bars.Progress(*columns, console=Console(stderr=True, highlight=False), auto_refresh=False) as bar:
        line = bar.add_task("", total=None)
        drawn = -REFRESH

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal drawn
            bar.update(line, description=stage, completed=done, total=total or None)
            if time.monotonic() - drawn >= REFRESH:
                drawn = time.monotonic()
                bar.refresh()

        yield tell
