"""How far two scores of the same samples agree."""

from dataclasses import dataclass

import numpy as np

from infotorch.errors import ShapeError
from infotorch.table import ranks

__all__ = ["Agreement", "agreement", "spearman"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Diagnostics; None where one of the scores is the same for all samples."""

    spearman: float | None
    """Correlation of ranks."""
    pearson: float | None
    """Correlation of values."""
    top_decile: float
    """Share of the highest tenth by one score that is in the highest tenth by the other."""
    num_samples: int
    """N."""


def agreement(scores: np.ndarray, others: np.ndarray) -> Agreement:
    """Correlations, and the overlap of the highest tenths.

    Args:
        scores: [N], at least 2.
        others: [N].

    Raises:
        ShapeError: The two are not [N] of one length.
    """
    a, b = np.asarray(scores, np.float64), np.asarray(others, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ShapeError(
            f"agreement: both scores must be [N] with N >= 2; got {list(a.shape)} and {list(b.shape)}. "
            "Pass one of each a sample."
        )
    few = -(-len(a) // 10)
    first = [set(np.argsort(-x, kind="stable")[:few].tolist()) for x in (a, b)]
    return Agreement(
        spearman=spearman(a, b),
        pearson=_pearson(a, b),
        top_decile=len(first[0] & first[1]) / few,
        num_samples=len(a),
    )


def spearman(scores: np.ndarray, others: np.ndarray) -> float | None:
    """Correlation of the ranks of [N] and [N]; None where all of one are equal."""
    return _pearson(ranks(scores), ranks(others))


def _pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
