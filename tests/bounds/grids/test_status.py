"""How far a grid is."""

from infotorch import bounds
from tests.bounds.small_grids import made


def test_what_is_missing_is_named(tmp_path):
    grid = made(tmp_path)
    assert bounds.status(grid).missing == []
    grid.cell_path(1, 3).unlink()
    found = bounds.status(tmp_path)
    assert (found.num_done, found.missing) == (15, [(1, 3)])
    assert found.seconds > 0
    assert str(found).splitlines()[1:] == ["supersample 0: 8 of 8", "supersample 1: 7 of 8"]
