"""What a command prints on: results to stdout, progress to stderr."""

import contextlib
import json as json_module
import math
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infotorch.cli.progress import Progress
from infotorch.cli.text import plain

WIDEST = 120
GAP = 3  # cells between the columns of a table
LEAST = 6  # cells that a column of text keeps
TITLE = 20  # cells after which the title of a column of numbers is broken


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """The two streams, and how the user wants them used. Colors follow the terminal and ``NO_COLOR``."""

    json: bool = False
    """Print the result alone, as JSON."""
    quiet: bool = False
    """Show no progress."""

    def progress(self) -> Progress:
        """What a room reports its progress to: a context manager and a function of (stage, done, total)."""
        return Progress(quiet=self.quiet, live=sys.stdout.isatty() and sys.stderr.isatty())

    def result(self, payload: Any) -> None:
        """Prints ``payload`` as JSON; a number that JSON lacks becomes null."""
        print(json_module.dumps(finite(payload), ensure_ascii=True, allow_nan=False))

    def say(self, line: str = "") -> None:
        """One line, as it is: not wrapped, so that a path in it can be copied."""
        console().print(Text(line), soft_wrap=True)

    @contextlib.contextmanager
    def warnings(self) -> Iterator[None]:
        """What is warned of inside goes to stderr, a line each, without Python's own words around it."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            yield
        for text in dict.fromkeys(str(each.message) for each in told):
            print(f"warning: {text}", file=sys.stderr)

    def facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Aligned ``name  value`` lines."""
        width = max((len(name) for name, _ in facts), default=0)
        for name, value in facts:
            self.say(f"{name:<{width}}  {value}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """A table as wide as the terminal at most; the columns named in ``right`` hold numbers and are never cut."""
        screen = console()
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        room = widths(head, rows, right, screen.width - 2)  # older versions of rich pad the edges
        for i, width in enumerate(room):
            title = "\n".join(textwrap.wrap(head[i], width)) if i in right else plain(head[i], width)
            table.add_column(Text(title), justify="right" if i in right else "left", width=width, no_wrap=True)
        for row in rows:
            table.add_row(*(Text(plain(cell, width)) for cell, width in zip(row, room, strict=True)))
        screen.print(table)


def widths(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], width: int) -> list[int]:
    """Cells for each column: first long titles of numbers are broken, then the widest text is cut, numbers never."""
    cells = [max((cell_len(plain(row[i])) for row in rows), default=0) for i in range(len(head))]
    found = [max(cells[i], min(cell_len(title), TITLE if i in right else WIDEST)) for i, title in enumerate(head)]
    least = [
        max(cells[i], *map(cell_len, title.split())) if i in right else min(found[i], LEAST)
        for i, title in enumerate(head)
    ]
    found = [max(pair) for pair in zip(found, least, strict=True)]
    for columns in (right, [i for i in range(len(head)) if i not in right]):
        while sum(found) + GAP * (len(found) - 1) > width:
            room = [i for i in columns if found[i] > least[i]]
            if not room:
                break
            found[max(room, key=lambda i: found[i])] -= 1
    return found


def console() -> Console:
    made = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    return made if made.width <= WIDEST else Console(
        file=sys.stdout, highlight=False, markup=False, emoji=False, width=WIDEST
    )  # fmt: skip


def finite(value: Any) -> Any:
    """``value`` with None in place of every infinite number, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
