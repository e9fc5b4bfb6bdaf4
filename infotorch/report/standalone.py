"""Figures without a run, as one page."""

from collections.abc import Sequence
from pathlib import Path

from infotorch.errors import require
from infotorch.report.build import page_of
from infotorch.report.figure import Figure
from infotorch.report.theme import CONFIG
from infotorch.store.files import write_bytes

__all__ = ["write_figures"]


def write_figures(title: str, figures: Sequence[Figure], path: str | Path, *, says: str = "") -> Path:
    """The figures and their tables as one HTML file that opens without a network; the same figures, the same bytes.

    Args:
        title: Of the page.
        figures: In the order in which they are shown.
        path: The file; one of this name is replaced once the new one is whole.
        says: What the figures show, under the title.

    Raises:
        MissingExtraError: A library of the extra ``report`` is not installed.
        StoreError: The file can't be written.
    """
    for module in ("jinja2", "altair", "vl_convert"):
        require("report", module, "report")
    data = {"config": CONFIG, "charts": {figure.id: figure.spec for figure in figures}}
    content = {"title": title, "says": says, "figures": figures}
    text = page_of("standalone.html.j2", content, data, scripts=("standalone.js",))
    write_bytes(Path(path), text.encode("utf-8", "replace"))  # half a surrogate pair has no UTF-8
    return Path(path)
