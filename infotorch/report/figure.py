"""A chart and the table beneath it; a chapter is some of them with words before and after."""

import dataclasses
from typing import Any

__all__ = ["Chapter", "Figure", "Member", "Pair", "Pairs", "Table"]


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
class Member:
    """A sample of a pair, with the label that most runs give it."""

    position: int | None
    """Its row in the view; None where the run holds no such sample."""
    index: int | None
    """Its place in the data set."""
    id: str
    given: str
    trained: str
    """The label predicted by most runs that were trained on it."""
    trained_share: str
    """Of those runs."""
    left_out: str
    """The same of the runs that were trained on the other one."""
    left_out_share: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two samples, one of which each run was trained on."""

    information: str
    bits: str
    members: tuple[Member, Member]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs side by side, with pictures and links to their samples."""

    id: str
    title: str
    kind: str
    caption: str
    pairs: tuple[Pair, ...]
    table: Table

    @property
    def positions(self) -> list[int]:
        """Rows of their samples in the view, in order."""
        members = [member for pair in self.pairs for member in pair.members]
        return [member.position for member in members if member.position is not None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chapter:
    """A part of the page that only some runs have: what the number says here, charts, what it doesn't say."""

    id: str
    title: str
    says: str
    figures: tuple[Figure, ...]
    does_not_say: str
    pairs: Pairs | None = None
    """Shown after the charts."""
    warnings: tuple[str, ...] = ()
    """What else is to be known of its numbers."""
