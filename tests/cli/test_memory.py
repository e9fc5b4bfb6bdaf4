import ctypes

import pytest

from infotorch.cli import memory


class Libc:
    """One that notes what it is asked for."""

    def __init__(self, most):
        self.options = []

        def mallopt(option, value):
            self.options.append((option, value))
            return int(value <= most)

        self.mallopt = mallopt


@pytest.fixture
def system(monkeypatch):
    for name in memory.CHOSEN:
        monkeypatch.delenv(name, raising=False)

    def use(libc):
        monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
        return libc

    return use


def test_large_pieces_come_from_the_heap(system):
    libc = system(Libc(most=1 << 40))
    memory.keep_memory()
    assert libc.options == [(-3, 1 << 30), (-1, 1 << 30)]


def test_an_older_libc_takes_what_it_allows(system):
    """A refusal alone would fix the threshold where it stands, at 128 KiB."""
    libc = system(Libc(most=1 << 25))
    memory.keep_memory()
    assert libc.options == [(-3, 1 << 30), (-3, 1 << 25), (-1, 1 << 30)]


@pytest.mark.parametrize("name", memory.CHOSEN)
def test_what_the_user_chose_stays(name, system, monkeypatch):
    libc = system(Libc(most=1 << 40))
    monkeypatch.setenv(name, "1")
    memory.keep_memory()
    assert libc.options == []


def test_nothing_happens_where_there_is_no_such_function(system):
    system(object())
    memory.keep_memory()
