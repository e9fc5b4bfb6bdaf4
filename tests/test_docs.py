"""What the pages of docs show runs as it stands there."""

import pathlib
import re

import pytest

HOUSE = pathlib.Path(__file__).parents[1]
PAGES = sorted((HOUSE / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(block, names)


@pytest.mark.parametrize("page", [HOUSE / "README.md", *PAGES], ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_bounds_results_are_those_of_the_committed_lines():
    """The page is what the benchmark writes, with bounds above the gap, not far, falling in n."""
    page = pytest.importorskip("benchmarks.bounds.page")
    assert page.PAGE.read_text() == page.text(), "run python -m benchmarks.bounds.page"
    assert not page.misses()


def test_limit_results_are_those_of_the_committed_lines():
    """The page is what the benchmark writes, and every figure on it is what it must be."""
    page = pytest.importorskip("benchmarks.limit.page")
    assert page.PAGE.read_text() == page.text(), "run python -m benchmarks.limit --check"
    assert not [demand.text for demand in page.demands() if not demand.holds]
