"""Axes of a score: which range is drawn, where its ticks are, and how they and their unit are written."""

import dataclasses
import functools
import json
import math
from typing import Any

import numpy as np

from infotorch.errors import require
from infotorch.report.numbers import UNITS, count, power
from infotorch.report.view import Score

__all__ = ["Axis", "of_range", "of_score", "significant"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """The drawn range of a score."""

    title: str
    unit: str
    log: bool
    low: float
    high: float
    note: str = ""
    """A sentence where values lie beyond the range."""

    def clip(self, values: np.ndarray) -> np.ndarray:
        """Values beyond the range moved to its end."""
        return np.clip(values, self.low, self.high)

    def clamp(self, key: str) -> str:
        """The same as a Vega expression on the field ``key``."""
        return f"clamp(datum.{key}, {self.low!r}, {self.high!r})"

    def edges(self, bins: int) -> np.ndarray:
        """``bins`` + 1 edges, equally spaced as drawn."""
        return (np.geomspace if self.log else np.linspace)(self.low, self.high, bins + 1)

    @functools.cached_property
    def ticks(self) -> list[float]:
        """Powers of ten on a logarithmic axis, and threes between them where they are few; round steps on another."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 3) if self.high < 1000 * self.low else (1,)
            found = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
        else:
            rough = (self.high - self.low) / 5
            size = 10.0 ** math.floor(math.log10(rough))
            step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= 0.7 * rough)
            first = math.ceil(self.low / step - 1e-9)
            found = [significant((first + i) * step, 9) for i in range(math.floor(self.high / step + 1e-9) - first + 1)]
        return [tick for tick in found if self.low <= tick <= self.high]

    @functools.cached_property
    def exponent(self) -> int:
        """The power of ten that a linear axis names in its title, so that ticks are short."""
        largest = max((abs(tick) for tick in self.ticks), default=1.0)
        place = math.floor(math.log10(largest)) if largest else 0
        return 0 if self.log or -3 <= place < 5 else 3 * math.floor(place / 3)

    @property
    def heading(self) -> str:
        """The title with its unit."""
        unit = " ".join(part for part in (power(self.exponent) if self.exponent else "", UNITS[self.unit]) if part)
        return f"{self.title} ({unit})" if unit else self.title

    @property
    def tick_texts(self) -> list[str]:
        if not self.log:
            return [f"{significant(tick / 10**self.exponent):,.12g}".replace("-", "−") for tick in self.ticks]
        plain = all(1e-4 <= tick < 1e5 for tick in self.ticks)
        return [f"{tick:,.12g}" if plain else _log_text(tick) for tick in self.ticks]

    def encoding(self, **axis: Any) -> dict[str, Any]:
        """Scale, title and axis of an Altair channel."""
        alt = require("report", "altair", "report")
        domain = [self.low, self.high]
        scale = (
            alt.Scale(type="log", domain=domain, nice=False)
            if self.log
            else alt.Scale(domain=domain, nice=False, zero=False)
        )
        texts = json.dumps(self.tick_texts, ensure_ascii=False)
        label = f"{texts}[indexof({json.dumps(self.ticks)}, datum.value)]"
        return {"scale": scale, "title": self.heading, "axis": alt.Axis(values=self.ticks, labelExpr=label, **axis)}


def of_score(score: Score) -> Axis:
    """The axis for all values of ``score``; on a logarithmic one what lies far below the others is drawn at its end."""
    finite = score.values[np.isfinite(score.values) & ((score.values > 0) | (not score.log))]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if score.log:
        low = max(low, float(np.percentile(finite, 1)) / 3)
    elif 0 <= low < 0.25 * high:
        low = 0.0
    axis = of_range(score, low, high)
    beyond = int(((score.values < axis.low) | (score.values > axis.high)).sum())
    return dataclasses.replace(axis, note=f"Beyond the axis, drawn at its end: {count(beyond)}.") if beyond else axis


def of_range(score: Score, low: float, high: float) -> Axis:
    """The axis of ``score`` from ``low`` to ``high``, widened where these are equal."""
    if score.log:
        margin = max(1.02, (high / low) ** 0.02)
        low, high = low / margin, high * margin
    elif low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    else:
        margin = 0.02 * (high - low)
        low, high = low - margin if low else low, high + margin
    # Ends rounded outward, so that no value leaves the range by being written with fewer digits.
    low, high = significant(low - 1e-7 * abs(low), 9), significant(high + 1e-7 * abs(high), 9)
    return Axis(title=score.title, unit=score.unit, log=score.log, low=low, high=high)


def significant(x: float, digits: int = 5) -> float:
    """``x`` rounded to that many significant digits."""
    return float(f"{x:.{digits}g}")


def _log_text(tick: float) -> str:
    exponent = math.floor(math.log10(tick) + 1e-9)
    factor = round(tick / 10**exponent)
    return power(exponent) if factor == 1 else f"{factor}×{power(exponent)}"
