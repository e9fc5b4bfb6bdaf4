"""Freed memory: kept for what follows, or handed back to the system."""

import contextlib
import ctypes
from collections.abc import Iterator

__all__ = ["give_back_memory", "keeping_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt."""
LARGEST, USUAL = 1 << 30, 1 << 25
"""Bytes up to which pieces come from the heap: within :func:`keeping_memory`, and where glibc stops by itself."""


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Freed tensors of any size stay with the process meanwhile, for those of the next batch.

    Else glibc hands back what is above 32 MiB at once, and the system zeroes as much again for the next batch, page by
    page: a fifth of the time of a first pass over pictures.
    """
    _set_thresholds(LARGEST)
    try:
        yield
    finally:
        _set_thresholds(USUAL)


def _set_thresholds(size: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, size)
        mallopt(TRIM_THRESHOLD, min(2 * size, 2**31 - 1))


def give_back_memory() -> None:
    """Hand freed memory back to the system.

    For aligned tensors of some MiB glibc does not find it again (its bug 14581), so that a long run would grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
