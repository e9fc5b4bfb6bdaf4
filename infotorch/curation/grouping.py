"""Samples by the value of one of their columns; many numbers by fifths."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

BINS, DISTINCT = 5, 12

Group = tuple[str, np.ndarray]  # name and positions


def grouped(values: Sequence[Any]) -> tuple[list[Group], bool]:
    """Positions of the samples with each value, by name.

    More than 12 different numbers are cut at their quintiles, each part without its upper end but for the last. Where
    many are equal, quintiles coincide and there are fewer parts. NaN, infinities and missing values are groups of their
    own.

    Args:
        values: [N], text, numbers, bool or None.

    Returns:
        Groups, numbers in their order and all else as they come first; and whether they are parts of a range.
    """
    rows_of: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        infinite = isinstance(value, float) and not math.isfinite(value)
        rows_of.setdefault(str(value) if infinite else value, []).append(row)
    numbers = sorted(value for value in rows_of if _is_number(value))
    rest = [(name_of(value), np.array(rows)) for value, rows in rows_of.items() if not _is_number(value)]
    if len(numbers) <= DISTINCT:
        return [(name_of(value), np.array(rows_of[value])) for value in numbers] + rest, False
    rows = np.sort(np.concatenate([rows_of[value] for value in numbers]))
    array = np.array([values[row] for row in rows], np.float64)
    edges = np.unique(np.quantile(array, np.linspace(0, 1, BINS + 1)))
    part = np.clip(np.searchsorted(edges, array, side="right") - 1, 0, len(edges) - 2)
    names = [f"{a} to {b}" for a, b in itertools.pairwise(_texts(edges))]
    return [(name, rows[part == p]) for p, name in enumerate(names) if (part == p).any()] + rest, True


def _texts(edges: np.ndarray) -> list[str]:
    """The numbers, which differ, with as few digits as tell them apart, three at least."""
    texts = [[f"{edge:.{digits}g}" for edge in edges] for digits in (3, 6, 9, 17)]
    return next(some for some in texts if len(set(some)) == len(edges))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def name_of(value: Any) -> str:
    """The value as it is shown: "none" where it is missing."""
    return "none" if value is None else str(value)
