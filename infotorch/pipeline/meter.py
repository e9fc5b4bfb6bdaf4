"""What a call takes: seconds, and the process's resident memory at its peak."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

__all__ = ["Cost", "measured", "resident"]

T = TypeVar("T")
PROCESS = Path("/proc/self")


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
