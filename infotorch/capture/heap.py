"""Freed memory, handed back to the system."""

import ctypes

__all__ = ["give_back_memory"]


def give_back_memory() -> None:
    """Hand freed memory back to the system.

    For aligned tensors of some MiB glibc does not find it again (its bug 14581), so that a long run would grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
