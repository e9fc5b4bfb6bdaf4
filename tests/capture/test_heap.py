import ctypes

from infotorch.capture import heap


def test_the_system_is_asked_to_take_memory_back(monkeypatch):
    """Once a call; nothing happens where there is no such function."""
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: type("C", (), {"malloc_trim": staticmethod(asked.append)}))
    heap.give_back_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap.give_back_memory()
    assert asked == [0]
