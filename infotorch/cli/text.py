"""Text for a terminal: names from data are shown, never obeyed; numbers have three significant digits."""

import math
import unicodedata

from rich.cells import cell_len, set_cell_size

LINE = 2000  # cells; a message longer than that is not read


def plain(value: object, width: int | None = None) -> str:
    """``value`` as one harmless line, at most ``width`` cells wide, the middle left out where it is longer.

    Control, format, surrogate and unassigned characters, newlines among them, are written as escapes: an id can
    neither color the terminal, nor move its cursor, nor turn the direction of the text around.
    """
    text = str(value)
    if width is None or len(text) <= 4 * width:
        text = "".join(escaped(c) for c in text)
        if width is None or cell_len(text) <= width:
            return text
    tail = "".join(escaped(c) for c in text[-width:])
    head = "".join(escaped(c) for c in text[:width])
    kept = width // 3  # ids that share a long beginning differ at their end
    while cell_len(tail) > kept:
        tail = tail[1:]
    return set_cell_size(head, width - 1 - cell_len(tail)).rstrip() + "…" + tail


def escaped(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    if character == "\u3000" or character == "\xa0":  # spaces of other scripts are spaces
        return " "
    return character.encode("unicode_escape").decode("ascii")


def one_line(message: str) -> str:
    """A message whose line breaks became spaces, harmless and of finite length."""
    return plain(" ".join(message.split()), LINE)


def number(value: float) -> str:
    """Three significant digits, thousands separated: 0.00123, 12.0, 1,230, 1.23e-05."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{value:.3g}")
    if not 1e-3 <= abs(rounded) < 1e6:
        return f"{value:.2e}"
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def count(value: int) -> str:
    return f"{value:,}"
