"""Fonts and colors of every chart.

Colors are CSS variables, so one drawing serves light, dark and print: ``style.css`` gives them their values.
"""

from typing import Any

__all__ = ["CLASSES", "CONFIG", "FONT"]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'

# Okabe and Ito, "Color Universal Design" (2008): black is the text color, so it comes last.
CLASSES = tuple(f"var(--class-{i})" for i in range(8))

_AXIS = {
    "domain": False,
    "grid": True,
    "gridColor": "var(--line)",
    "labelColor": "var(--ink-2)",
    "labelFont": FONT,
    "labelFontSize": 12,
    "labelPadding": 6,
    "ticks": False,
    "titleColor": "var(--ink-2)",
    "titleFont": FONT,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titlePadding": 8,
}

CONFIG: dict[str, Any] = {
    "aria": False,  # the chart's element has the words
    "background": None,
    "padding": {"left": 2, "right": 12, "top": 6, "bottom": 2},
    "font": FONT,
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"labelFlush": True, "labelOverlap": True},
    "text": {"font": FONT, "fontSize": 12, "fill": "var(--ink-2)"},
    "rule": {"stroke": "var(--ink-2)"},
    "legend": {"disable": True},
}
