import ctypes

import pytest

from infotorch.capture import heap


@pytest.fixture
def libc(monkeypatch):
    """One that notes what it is asked for."""

    class Libc:
        def __init__(self):
            self.trimmed, self.options = [], []
            self.malloc_trim = self.trimmed.append
            self.mallopt = lambda option, value: self.options.append((option, value))

    found = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    return found


def test_the_system_is_asked_to_take_memory_back(libc):
    heap.give_back_memory()
    assert libc.trimmed == [0]


def test_large_pieces_come_from_the_heap_meanwhile(libc):
    """And as glibc does by itself after it, also after an error."""
    with pytest.raises(KeyError), heap.keeping_memory():
        assert libc.options == [(-3, 1 << 30), (-1, 2**31 - 1)]
        raise KeyError
    assert libc.options[2:] == [(-3, 1 << 25), (-1, 1 << 26)]


def test_nothing_happens_where_there_are_no_such_functions(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with heap.keeping_memory():
        heap.give_back_memory()
