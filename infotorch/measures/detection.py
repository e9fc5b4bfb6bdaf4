"""How well a ranking of samples finds those with wrong labels."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from infotorch.errors import ShapeError
from infotorch.table import ranks

__all__ = ["Detection", "detection"]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a ranking by a score finds; diagnostics, for labels that are known to be wrong."""

    auroc: float | None
    """Chance that a wrong label scores above a right one, equal scores counting half; ``None`` without both kinds."""
    precision: float | None
    """Share of wrong labels among as many samples with the highest scores as labels are wrong."""
    num_wrong: int
    """Wrong labels."""


def detection(scores: Tensor | np.ndarray, wrong: Tensor | np.ndarray) -> Detection:
    """Area under the ROC curve, and precision at the number of wrong labels.

    Args:
        scores: High is suspicious, [N].
        wrong: Which labels are wrong, bool [N].

    Raises:
        ShapeError: The two are not [N] of one length.
    """
    values, mask = (np.asarray(x.cpu() if isinstance(x, Tensor) else x) for x in (scores, wrong))
    if values.ndim != 1 or values.shape != mask.shape:
        got = f"{list(values.shape)} and {list(mask.shape)}"
        raise ShapeError(f"detection: scores and wrong must both be [N]; got {got}. Pass one of each a sample.")
    mask = mask.astype(bool)
    num_wrong, num_right = int(mask.sum()), int((~mask).sum())
    auroc = None
    if num_wrong and num_right:
        auroc = float((ranks(values)[mask].sum() - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))
    first = np.argsort(-values, kind="stable")[:num_wrong]
    return Detection(auroc=auroc, precision=float(mask[first].mean()) if num_wrong else None, num_wrong=num_wrong)
