"""How many wrong labels a network repeats."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from infotorch.errors import ShapeError
from infotorch.task.targets import IGNORED_LABEL

__all__ = ["Memorised", "memorised_counts"]


@dataclass(frozen=True, kw_only=True)
class Memorised:
    """Predictions on training samples against given and true labels; ``None`` where the true ones are unknown."""

    acc_noisy_labels: float
    """Share of given labels that are predicted."""
    memorised_count: int | None
    """Wrong labels that are predicted."""
    mislabelled: int | None
    """Wrong labels."""
    recovered: int | None
    """Samples with a wrong label whose true class is predicted."""
    acc_clean_subset: float | None
    """Share of right labels that are predicted; ``None`` too where all labels are wrong."""


def memorised_counts(
    predicted: Tensor | np.ndarray, given: Tensor | np.ndarray, true: Tensor | np.ndarray | None = None
) -> Memorised:
    """Counts of predictions that repeat wrong labels or see through them; diagnostics of one network, no bounds.

    Args:
        predicted: The network's classes in eval mode on inputs without augmentation, integers [N] or [N, T].
        given: The labels it was trained on, of this shape; -100 where there is none.
        true: The right labels, of this shape; ``None`` where they are unknown.

    Raises:
        ShapeError: Shapes disagree, or there is no label.
    """
    predicted, given = (np.asarray(a.cpu() if isinstance(a, Tensor) else a) for a in (predicted, given))
    true = np.asarray(true.cpu() if isinstance(true, Tensor) else true) if true is not None else None
    if predicted.shape != given.shape or (true is not None and true.shape != given.shape):
        shapes = ", ".join(str(list(a.shape)) for a in (predicted, given, true) if a is not None)
        raise ShapeError(f"memorised_counts: predicted, given and true must have one shape; got {shapes}. Align them.")
    labelled = given != IGNORED_LABEL
    if not labelled.any():
        raise ShapeError("memorised_counts: there must be a label; got none. Pass the labels of the training samples.")
    fitted = (predicted == given)[labelled]
    accuracy = float(fitted.mean())
    if true is None:
        return Memorised(
            acc_noisy_labels=accuracy, memorised_count=None, mislabelled=None, recovered=None, acc_clean_subset=None
        )
    wrong = (given != true)[labelled]
    return Memorised(
        acc_noisy_labels=accuracy,
        memorised_count=int((wrong & fitted).sum()),
        mislabelled=int(wrong.sum()),
        recovered=int((wrong & (predicted == true)[labelled]).sum()),
        acc_clean_subset=None if wrong.all() else float(fitted[~wrong].mean()),
    )
