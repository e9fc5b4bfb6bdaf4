"""How the command's own process treats freed memory."""

import ctypes
import os

__all__ = ["keep_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt."""
LARGEST, USUAL = 1 << 30, 1 << 25
"""Bytes up to which pieces come from the heap: what newer glibc allows, and what every one does."""
CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables by which a user sets the same."""


def keep_memory() -> None:
    """Let freed tensors stay with the process, for those of the next batch; for good, so for no process of a user's.

    glibc else hands large ones back at once, and the system zeroes as much again for the next batch, page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in CHOSEN):
        return
    if not mallopt(MMAP_THRESHOLD, LARGEST):
        mallopt(MMAP_THRESHOLD, USUAL)
    mallopt(TRIM_THRESHOLD, LARGEST)
