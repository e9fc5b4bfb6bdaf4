"""A scatter of two values of one score, with the line where they are equal."""

from infotorch.report.equality import equality, score_of
from infotorch.report.view import view
from tests.report.double import digits_run


def drawn(index):
    seen = view(digits_run())
    xs, ys = [1e-4 * (i + 1) for i in range(len(index))], [2e-4 * (i + 1) for i in range(len(index))]
    values = [("exact", xs), ("sketched", ys)]
    return seen, xs, ys, equality(seen, seen.scores[0], index, values, id="x", alt="words", caption="more words")


def test_every_sample_is_drawn_under_its_name():
    seen, xs, ys, figure = drawn([3, 7, 10_000])
    rows = figure.spec["datasets"]["rows"]
    assert [(row["x"], row["y"]) for row in rows] == list(zip(xs, ys, strict=True))
    assert [row["name"] for row in rows] == [seen.ids[3], seen.ids[7], "10000"]
    assert figure.table.header == ("Sample", "Exact", "Sketched") and figure.table.rows[0][0] == seen.ids[3]


def test_both_axes_are_one_and_the_line_spans_them():
    _, xs, ys, figure = drawn([0, 1, 2])
    low, high = figure.spec["datasets"]["ends"]
    assert low["x"] == low["y"] <= min(xs + ys) and high["x"] == high["y"] >= max(xs + ys)
    x, y = (figure.spec["layer"][0]["encoding"][axis]["scale"] for axis in "xy")
    assert x == y


def test_many_samples_have_small_points():
    sizes = [drawn(range(n))[3].spec["layer"][1]["mark"]["size"] for n in (60, 61)]
    assert sizes == [64, 24]


def test_the_score_is_the_named_one_or_the_asked_one():
    seen = view(digits_run())
    assert score_of(seen, "own_residual").name == "own_residual"
    assert score_of(seen, None).name == score_of(seen, "gone").name == "unique_information_functions"
