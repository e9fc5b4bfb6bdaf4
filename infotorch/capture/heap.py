"""Freed memory, handed back to the system."""

import ctypes

__all__ = ["HELD", "give_back_memory"]

HELD = 1 << 28
"""Bytes that a long run may hold free between its parts: what is handed back is to be asked for again, page by page."""


class _MallocInfo(ctypes.Structure):
    """What glibc's mallinfo2 returns; fordblks: bytes of its heaps that are free."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def give_back_memory(*, above: int = 0) -> None:
    """Hand freed memory back to the system, where there is more of it than ``above`` bytes.

    For aligned tensors of some MiB glibc does not find it again (its bug 14581), so that a long run would grow.
    """
    libc = ctypes.CDLL(None)
    trim, tell = getattr(libc, "malloc_trim", None), getattr(libc, "mallinfo2", None)  # the second since glibc 2.33
    if trim is None:
        return
    if above and tell is not None:
        tell.restype = _MallocInfo
        if tell().fordblks <= above:
            return
    trim(0)
