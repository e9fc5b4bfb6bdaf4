"""Figures without a run, as one page."""

import re

import numpy as np
import pytest

from infotorch.errors import StoreError
from infotorch.report.distances import distances
from infotorch.report.standalone import write_figures
from infotorch.report.sweep import transition

NAMES = ["one", "</script><b>two", "three"]
VALUES = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
ROWS = [
    {"beta": beta, "corruption": level, "kl": 1 / beta + level, "train_acc": 0.5}
    for beta in (0.1, 1.0)
    for level in (0.0, 1.0)
]


def test_a_page_opens_without_a_network_and_obeys_no_name(tmp_path):
    figure = distances(NAMES, VALUES, title="<i>", caption="&")
    page = write_figures("a & b", [figure], tmp_path / "a.html", says="<em>").read_text()
    assert "<title>a &amp; b" in page and "&lt;em&gt;" in page and "&lt;i&gt;" in page
    assert "</script><b>two" not in page and "&lt;/script&gt;&lt;b&gt;two" in page
    assert page.count("</script>") == 3 and "default-src &#39;none&#39;" in page
    assert not re.search(r"(?:src|href)=[\"']?http", page)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html"]


def test_the_same_figures_are_the_same_bytes_in_their_order(tmp_path):
    figures = transition(ROWS)
    one, two = (write_figures("Sweep", figures, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == two
    places = [one.index(f'data-chart="{figure.id}"'.encode()) for figure in figures]
    assert places == sorted(places)


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a.html").write_text("")
    with pytest.raises(StoreError, match="must be written"):
        write_figures("Sweep", transition(ROWS), tmp_path / "a.html" / "b.html")
