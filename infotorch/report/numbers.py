"""Numbers as the report prints them: three significant digits, thousands separated, never without a unit.

``numbers.js`` prints the same strings in the browser; a test compares the two.
"""

import decimal
import math

__all__ = ["UNITS", "bits", "count", "directions", "number", "percent", "power", "quantity"]

UNITS = {"nats": "nats", "nats^2": "nats²", "1": ""}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(x: float, digits: int = 3) -> str:
    """``x`` with ``digits`` significant digits: 0.500, 1,230, −4.57×10⁻⁶; ties are rounded away from zero."""
    if not math.isfinite(x):
        return "not a number" if math.isnan(x) else "∞" if x > 0 else "−∞"
    if x == 0:
        return "0"
    sign = "−" if x < 0 else ""
    exact = decimal.Decimal(abs(x))
    rounded = decimal.Context(prec=digits, rounding=decimal.ROUND_HALF_UP).plus(exact)
    exponent = rounded.adjusted()
    if -4 <= exponent < 6:
        return f"{sign}{rounded:,.{max(0, digits - 1 - exponent)}f}"
    mantissa = rounded.scaleb(-exponent)
    return f"{sign}{mantissa:.{digits - 1}f}×{power(exponent)}"


def power(exponent: int) -> str:
    """A power of ten: 10⁻⁶."""
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def count(n: int) -> str:
    """A whole number in full, thousands separated."""
    return f"{int(n):,}"


def quantity(x: float, unit: str) -> str:
    """A number with its unit; the unit "1" is not written."""
    return f"{number(x)} {UNITS.get(unit, unit)}".rstrip()


def bits(x: float, unit: str) -> str:
    """The same quantity in bits, where its unit is nats; else an empty string."""
    return f"{number(x / math.log(2))} bits" if unit == "nats" else ""


def percent(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent, with one decimal near 0 and 100 %."""
    share = 100 * part / whole if whole else 0.0
    whole_number = part in (0, whole) or 10 <= share < 99.5
    return f"{share:.0f}\N{NO-BREAK SPACE}%" if whole_number else f"{share:.1f}\N{NO-BREAK SPACE}%"


def directions(used: float, width: int) -> str:
    """Directions that training uses of a sketch: one of few numbers can't show more of them."""
    return f"{'at least' if 2 * used > width else 'about'} {number(used)} directions"
