"""What a call takes: seconds, and the process's resident memory at its peak; and that a long run keeps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

from infotorch.capture.heap import give_back_memory

__all__ = ["HELD", "Cost", "Parts", "measured", "resident"]

T = TypeVar("T")
PROCESS = Path("/proc/self")
HELD = 1 << 28
"""Bytes by which a run of many parts may grow."""


@dataclass(frozen=True, kw_only=True)
class Cost(Generic[T]):
    """Of one call."""

    result: T
    seconds: float
    """On the clock, work on a GPU included."""
    peak: int | None
    """Bytes that were resident at once during the call, those from before it included; None where the system does not
    tell."""


def measured(call: Callable[[], T]) -> Cost[T]:
    """The call's result with what it took.

    The kernel's high-water mark of the process is set back first (Linux).
    """
    known = _set_back()
    _wait()
    start = time.perf_counter()
    result = call()
    _wait()
    seconds = time.perf_counter() - start
    return Cost(result=result, seconds=seconds, peak=_status("VmHWM:") if known else None)


def resident() -> int | None:
    """Bytes of the process that are in memory now; None where the system does not tell."""
    return _status("VmRSS:")


class Parts:
    """Parts of a long run, alike in what they need: freed memory stays for the next one, but does not pile up."""

    def __init__(self) -> None:
        self._usual: int | None = None

    def one_done(self) -> None:
        """Hands freed memory back where the process has grown by more than ``HELD`` beyond what a part leaves."""
        now = resident()
        if now is not None and self._usual is None:
            self._usual = now
        if now is None or self._usual is None or now > self._usual + HELD:
            give_back_memory()


def _set_back() -> bool:
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:  # another system than Linux, or one that forbids it
        return False
    return True


def _status(field: str) -> int | None:
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
