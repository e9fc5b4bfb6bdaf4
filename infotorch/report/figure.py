"""A chart and the table beneath it; a chapter is some of them with words before and after."""

import dataclasses
from typing import Any

__all__ = ["Chapter", "Figure", "Table"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Text by row and column; the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart."""

    id: str
    title: str
    kind: str
    """Bound, estimate, diagnostic or heuristic: what its numbers may be taken for."""
    alt: str
    """What the chart shows, for those who don't see it."""
    caption: str
    spec: dict[str, Any]
    """Vega-Lite, without configuration."""
    table: Table
    brush: tuple[str, str] | None = None
    """Keys of the two scores in which samples can be selected, x first."""
    wide: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chapter:
    """A part of the page that only some runs have: what the number says here, charts, what it doesn't say."""

    id: str
    title: str
    says: str
    figures: tuple[Figure, ...]
    does_not_say: str
