"""The learner as worker processes get it: through a file, read once."""

import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loky.backend import reduction

from infotorch import errors
from infotorch.bounds.grids.cells import Failure, failure_of
from infotorch.store.files import refusals

__all__ = ["keep", "there_is", "train_here", "write_learner"]

WATCH = 1.0
"""Seconds between two looks of a worker whether its parent is alive."""


def write_learner(learner: Callable[[Any], Any], file: Path) -> None:
    """Writes the learner for processes to read.

    Raises:
        ConfigError: It can't be written.
        StoreError: The system refuses.
    """
    with refusals("store", file), open(file, "wb") as opened:
        try:
            reduction.dump(learner, opened)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise errors.ConfigError(
                f"run: the learner must be something that can be sent to another process; got {error}. "
                "Open files and connections inside of it, or set workers=1."
            ) from error


_unread: list[Path] = []
_kept: list[Callable[[Any], Any]] = []
"""A worker process's learner: it is read once, for it may hold the whole data."""


def keep(file: Path, parent: int) -> None:
    """What a worker begins with: it will read the learner at its first job, which can tell of what goes wrong."""
    _unread[:] = [file]
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process when its parent is gone: killed, it can't tell, and a worker would wait for jobs for ever."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def there_is(_: int) -> int:
    """Which process this is, once it has read the learner."""
    _read()
    time.sleep(0.01)  # so that one process doesn't answer for all
    return os.getpid()


def train_here(job: Any) -> Any:
    """What comes of the job in this process."""
    return _read() or _kept[0](job)


def _read() -> Failure | None:
    if not _kept:
        try:
            with open(_unread[0], "rb") as opened:
                _kept.append(pickle.load(opened))
        except (Exception, SystemExit) as error:  # a module of the user's that raises when it is imported
            return failure_of(error, before="the learner can't be read in another process: ")
        _unread.clear()
    return None
