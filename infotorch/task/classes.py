"""Labels as classes, the classes that outputs say, and where the two differ: the 0-1 error."""

from collections.abc import Sequence

import torch
from torch import Tensor

from infotorch.task.losses import BinaryCrossEntropy, CrossEntropy
from infotorch.task.targets import IGNORED_LABEL
from infotorch.task.task import Task

__all__ = ["all_missed", "given_classes", "is_single", "is_soft", "labelled", "missed", "missed_by", "out_of_range",
           "predicted_classes"]  # fmt: skip


def is_soft(logits: Tensor, labels: Tensor) -> bool:
    """Whether labels are probabilities [..., C], one row a label; a single logit's targets are not.

    The logits may be of some of the samples only.
    """
    rows_alike = labels.dim() > 1 and labels.shape[-1] > 1 and labels.shape[1:] == logits.shape[1:]
    return labels.is_floating_point() and rows_alike


def labelled(logits: Tensor, labels: Tensor) -> Tensor:
    """Which labels are there, bool, [...] for logits [..., C]."""
    return labels[..., 0].isfinite() if is_soft(logits, labels) else labels != IGNORED_LABEL


def out_of_range(logits: Tensor, labels: Tensor) -> Tensor:
    """Which labels are no class of the logits', bool, of the labels' shape; none of probabilities."""
    if labels.is_floating_point():
        return torch.zeros_like(labels, dtype=torch.bool)
    C = 2 if is_single(logits, labels) else logits.shape[-1]
    return (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= C))


def is_single(logits: Tensor, labels: Tensor) -> bool:
    """Whether one logit stands for two classes: logits [N] or [..., 1]."""
    return logits.shape[-1:] == (1,) or (logits.dim() == 1 and logits.shape == labels.shape)


def given_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The class of every label, int64, of the labels' shape without the axis of probabilities."""
    if is_soft(logits, labels):
        return labels.argmax(-1)
    return (labels > 0.5).long() if labels.is_floating_point() else labels


def predicted_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The class that the logits say, int64, of the shape of ``given_classes``."""
    return (logits > 0).long().view_as(labels) if is_single(logits, labels) else logits.argmax(-1)


def missed(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each label that is there differs from the class that the logits say, bool, one entry a label.

    A soft label is its likeliest class; a single logit says class 1 above 0.
    """
    return (predicted_classes(logits, labels) != given_classes(logits, labels))[labelled(logits, labels)]


def missed_by(task: Task, outputs: Tensor, y: Tensor) -> Tensor | None:
    """:func:`missed` for a task's outputs; None where ``y`` holds no classes.

    Probabilities are classes under a cross-entropy only, whole numbers of a single output under the binary one, and
    of several outputs where there is one for all of them.
    """
    binary = isinstance(task.criterion, BinaryCrossEntropy)
    if y.is_floating_point():
        classes = binary or isinstance(task.criterion, CrossEntropy)
    else:
        classes = binary or (outputs.shape[-1] > 1 and y.shape == outputs.shape[:-1])
    return missed(outputs, y) if classes else None


def all_missed(batches: Sequence[Tensor | None]) -> Tensor | None:
    """Those of all batches, float64 on the CPU, whose mean is the 0-1 error; None without classes or without labels."""
    known = [each.double().cpu() for each in batches if each is not None]
    found = torch.cat(known) if len(known) == len(batches) else torch.empty(0)
    return found if len(found) else None
