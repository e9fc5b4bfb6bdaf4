"""Names of lines."""

import pytest

from infotorch.report.lines import line_names, room


def test_a_name_stands_at_the_end_of_its_line_and_apart_from_others():
    ends = {"a": 5, "b": 5.1, "c": 0}
    rows = [{"n": n, "y": y, "line": line, "color": line} for line, y in ends.items() for n in (1, 2)]
    found = line_names(rows, "n", height=10)
    assert [(name["line"], name["n"]) for name in found] == [("c", 2), ("a", 2), ("b", 2)]
    assert [name["y"] for name in found] == pytest.approx([0, 5, 5.6])
    assert [name["y"] for name in line_names(rows, "n")] == pytest.approx([0, 5, 5 + 0.06 * 5.1])


def test_longer_names_take_more_room_up_to_a_limit():
    assert room(["gap"]) == pytest.approx(42 / 258) and room(["gap", "test error"]) > room(["gap"])
    assert room(["x" * 100]) == pytest.approx(0.4 / 0.6)
