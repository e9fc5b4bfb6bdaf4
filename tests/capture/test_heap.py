import ctypes

import pytest

from infotorch.capture import heap


@pytest.fixture
def libc(monkeypatch):
    """One that has 100 bytes free, and notes when it is asked to hand them back."""

    class Libc:
        def __init__(self):
            self.asked = []
            self.malloc_trim = self.asked.append

            def mallinfo2():
                return heap._MallocInfo(fordblks=100)

            self.mallinfo2 = mallinfo2

    found = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    return found


def test_the_system_is_asked_to_take_memory_back(libc):
    heap.give_back_memory()
    assert libc.asked == [0]


@pytest.mark.parametrize(("above", "asked"), [(99, [0]), (100, [])])
def test_what_is_worth_keeping_is_kept(libc, above, asked):
    heap.give_back_memory(above=above)
    assert libc.asked == asked


def test_a_libc_that_cannot_tell_is_asked_always(libc):
    del libc.mallinfo2
    heap.give_back_memory(above=1000)
    assert libc.asked == [0]


def test_nothing_happens_where_there_is_no_such_function(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap.give_back_memory()


def test_what_is_free_is_known():
    """Where the system has glibc: freed pieces below the size that is mapped apart stay in its heap."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return
    libc.mallinfo2.restype = heap._MallocInfo
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    *pieces, last = (libc.malloc(1 << 16) for _ in range(65))  # the last keeps the others from the heap's end
    before = libc.mallinfo2().fordblks
    for piece in pieces:
        libc.free(piece)
    assert libc.mallinfo2().fordblks - before >= 64 << 16
    libc.free(last)
