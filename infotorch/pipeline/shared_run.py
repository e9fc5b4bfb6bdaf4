"""A run that one process writes for all that compute it."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from infotorch import store
from infotorch.pipeline.ranks import Ranks
from infotorch.table import Scores

__all__ = ["SharedRun", "shared_run"]

T = TypeVar("T")


class SharedRun:
    """A run's writer on the first process, an onlooker on the others; all call the same methods in the same order."""

    def __init__(self, path: str | Path, ranks: Ranks) -> None:
        self.path = Path(path)
        self.ranks = ranks
        self._writer: store.RunWriter | None = None

    def do(self, action: Callable[[store.RunWriter], T]) -> T:
        """What ``action`` of the writer returns, everywhere; what the writer refuses is refused everywhere."""

        def act() -> T:
            assert self._writer is not None
            return action(self._writer)

        return self.ranks.first(act)

    def missing(self) -> list[tuple[int, int]]:
        """Rows [start, stop) of the shards whose scores are not there."""

        def rows(run: store.RunWriter) -> list[tuple[int, int]]:
            done = run.done()
            return [each for each in run.ranges() if each not in done]

        return self.do(rows)

    def append(self, start: int, scores: Scores) -> None:
        self.do(lambda run: run.append(start, scores))

    def note(self, name: str, payload: Any) -> None:
        self.do(lambda run: run.note(name, payload))

    def scores(self) -> Scores:
        """All scores, which every process reads by itself."""
        return (self._writer or store.open(self.path)).scores()


@contextlib.contextmanager
def shared_run(path: str | Path, ranks: Ranks, make: AbstractContextManager[store.RunWriter]) -> Iterator[SharedRun]:
    """The run that ``make`` makes or goes on with, on the first process alone."""
    run = SharedRun(path, ranks)
    with contextlib.ExitStack() as opened:

        def begin() -> None:
            run._writer = opened.enter_context(make)

        ranks.first(begin)
        yield run
        ranks.wait()  # others may still read
