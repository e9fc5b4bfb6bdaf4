import numpy as np
import pytest

from infotorch.errors import DataError, ShapeError
from infotorch.report.distances import distances, tree

NAMES = ["one", "</script><b>two", "three", "four"]
# Pairs (0, 2) at 1 and (1, 3) at 2, all between them at 6 but (0, 1) at 4: joined at (4 + 6 + 6 + 6) / 4.
VALUES = np.array([[0, 4, 1, 6], [4, 0, 6, 2], [1, 6, 0, 6], [6, 2, 6, 0]], float)


def test_the_tree_joins_at_mean_distances():
    found = tree(VALUES)
    assert [height for height, *_ in found.merges] == [1, 2, 5.5]
    assert [{*left, *right} for _, left, right in found.merges] == [{0, 2}, {1, 3}, {0, 1, 2, 3}]
    assert {frozenset(found.order[:2]), frozenset(found.order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert found.order[1:3] in ((0, 1), (1, 0))  # the two nearest of both sides


def test_lines_end_at_leaves_and_at_the_merges_before():
    found = tree(VALUES)
    assert {place for line in found.lines for height, place in line if height == 0} == {0, 1, 2, 3}
    last = max(found.lines, key=lambda line: line[1][0])
    assert last[0][0] in (1, 2) and last[1][0] == last[2][0] == 5.5 and {last[0][1], last[3][1]} == {0.5, 2.5}


@pytest.mark.parametrize("shift", [1.5, 7.0])
def test_negative_distances_join_as_shifted_ones(shift):
    """The least is 1 - shift: heights are mean distances, and leaves stand at the least."""
    found, before = tree(VALUES - shift), tree(VALUES)
    assert [height for height, *_ in found.merges] == [1 - shift, 2 - shift, 5.5 - shift]
    assert [merge[1:] for merge in found.merges] == [merge[1:] for merge in before.merges]
    assert found.order == before.order
    assert {place for line in found.lines for height, place in line if height == 1 - shift} >= {0, 1, 2, 3}
    figure = distances(NAMES, VALUES - shift, title="", caption="")
    assert min(cell["d"] for cell in figure.spec["datasets"]["cells"]) == -shift
    white = figure.spec["hconcat"][1]["layer"][1]["encoding"]["color"]["condition"]["test"]
    assert white == f"datum.d > {(-shift + max(0, 6 - shift)) / 2!r}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_distance_is_refused(value):
    values = VALUES.copy()
    values[1, 3] = value
    with pytest.raises(DataError, match=rf"^report: distances must be finite; got {value} from 1 to 3. Leave out"):
        distances(NAMES, values, title="", caption="")


def test_both_directions_count_alike():
    shifted = VALUES + np.triu(np.ones((4, 4)), 1) - np.tril(np.ones((4, 4)), -1)
    assert tree(shifted).merges == tree(VALUES).merges


def test_the_figure_holds_every_distance_in_the_order_of_the_tree():
    figure = distances(NAMES, VALUES, title="Distances", caption="Of four.")
    cells, order = figure.spec["datasets"]["cells"], tree(VALUES).order
    assert [cell["d"] for cell in cells] == VALUES[np.ix_(order, order)].flatten().tolist()
    assert [label["name"] for label in figure.spec["datasets"]["labels"]] == [NAMES[i] for i in order]
    assert len(figure.spec["datasets"]["corners"]) == 3 * 4
    assert figure.table.header == ("", *(NAMES[i] for i in order)) and len(figure.table.rows) == 4
    assert "The least distance is 1.00, of one and three." in figure.alt
    many = distances([str(i) for i in range(17)], 1 - np.eye(17), title="", caption="")
    drawn = [len(figure.spec["hconcat"][1]["layer"]), len(many.spec["hconcat"][1]["layer"])]
    assert drawn == [3, 2]  # numbers in cells would be too many


def test_the_chart_compiles():
    convert = pytest.importorskip("vl_convert")
    svg = convert.vegalite_to_svg(distances(NAMES, VALUES, title="", caption="").spec)
    assert svg.count("<text") >= 20 and ">three<" in svg and ">joined at<" in svg


@pytest.mark.parametrize("values", [np.zeros((1, 1)), np.zeros((2, 3)), np.zeros(4)])
def test_what_is_no_matrix_of_pairs_is_refused(values):
    with pytest.raises(ShapeError, match=r"distances must be \[n, n\] with n >= 2"):
        tree(values)
    with pytest.raises(ShapeError, match="names must be one a row; got 1 for 4"):
        distances(["a"], VALUES, title="", caption="")
