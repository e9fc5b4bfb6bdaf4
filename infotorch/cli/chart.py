"""Charts beside what a command keeps."""

from collections.abc import Callable, Sequence
from pathlib import Path

from infotorch.errors import MissingExtraError
from infotorch.report.figure import Figure
from infotorch.report.standalone import write_figures

__all__ = ["drawn"]


def drawn(title: str, figures: Callable[[], Sequence[Figure]], path: str | Path, *, says: str = "") -> str:
    """Where the page of figures is; or why there is none, as numbers that took hours must not wait for an extra."""
    try:
        return str(write_figures(title, figures(), path, says=says))
    except MissingExtraError as error:
        return f"not drawn: {error}"
