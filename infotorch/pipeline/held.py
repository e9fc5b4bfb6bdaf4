"""Freed memory that a run of many parts holds for the next one."""

from infotorch.capture.heap import give_back_memory
from infotorch.pipeline.meter import resident

__all__ = ["HELD", "HeldMemory"]

HELD = 1 << 28
"""Bytes by which a run may grow beyond what its smallest part leaves."""


class HeldMemory:
    """One for a run, so that nothing piles up from stage to stage."""

    def __init__(self) -> None:
        self._least: int | None = None

    def part_done(self) -> None:
        """Hands freed memory back where the process has grown by more than ``HELD``, or where that is not known."""
        now = resident()
        if now is not None:
            self._least = now if self._least is None else min(self._least, now)
        if now is None or self._least is None or now > self._least + HELD:
            give_back_memory()
