import pytest

from infotorch.pipeline import held

FIRST = 1 << 30
MOST = FIRST + held.HELD


@pytest.mark.parametrize(
    ("levels", "given"),
    [
        ([FIRST, MOST, MOST + 1, FIRST, MOST + 1], [0, 0, 1, 1, 2]),
        ([MOST, FIRST, MOST + 1], [0, 0, 1]),  # the smallest part counts
        ([None, None], [1, 2]),  # where the system does not tell
    ],
)
def test_memory_is_handed_back_where_it_piles_up(levels, given, monkeypatch):
    asked, left = [], iter(levels)
    monkeypatch.setattr(held, "resident", lambda: next(left))
    monkeypatch.setattr(held, "give_back_memory", lambda: asked.append(None))
    memory, found = held.HeldMemory(), []
    for _ in levels:
        memory.part_done()
        found.append(len(asked))
    assert found == given
