"""Labels and targets against the outputs that they are for."""

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import DataError

__all__ = ["IGNORED_LABEL", "check_classes", "check_unit_interval", "like_outputs", "residual_targets"]

IGNORED_LABEL = -100
"""A token with this label adds nothing to its sample's loss, as in torch."""


def check_classes(outputs: Tensor, y: Tensor) -> None:
    if y.is_floating_point():
        if y.shape != outputs.shape:
            raise DataError(
                f"task: probability targets must have the outputs' shape {list(outputs.shape)}; got {list(y.shape)}. "
                "Pass int64 labels [N], or one probability a class."
            )
        bad = ((y < 0).any(-1) | ((y.sum(-1) - 1).abs() > 1e-4)).flatten(1 if y.dim() > 2 else 0)
        if bad.any():
            n = int(bad.nonzero()[0, 0])
            raise DataError(
                f"task: probability targets must be at least 0 and sum to 1; got a sum of {y[n].sum().item():g} at "
                f"sample {n}. Normalize them."
            )
    elif y.dtype != torch.int64:
        raise DataError(f"task: class labels must be int64; got {y.dtype}. Pass y.long().")
    elif y.shape != outputs.shape[:-1]:
        raise DataError(
            f"task: class labels must be {list(outputs.shape[:-1])} for outputs {list(outputs.shape)}; got "
            f"{list(y.shape)}. Pass one int64 label each."
        )
    else:
        _check_range(y, outputs.shape[-1])


def check_unit_interval(y: Tensor) -> None:
    """Targets of binary cross-entropy [N, ...] are probabilities of class 1."""
    outside = ((y < 0) | (y > 1)).reshape(len(y), -1)
    if outside.any():
        n = int(outside.any(1).nonzero()[0])
        value = y[n].reshape(-1)[outside[n]][0].item()
        raise DataError(
            f"task: labels of binary_cross_entropy must be in [0, 1]; got {value:g} at sample {n}. "
            "Map the two classes to 0 and 1."
        )


def residual_targets(y: Tensor, C: int, *, probabilities: bool) -> Tensor:
    """What outputs are compared with in a least-squares residual, float64 [N, C].

    Args:
        y: Class labels, integers [N], or targets [N, C] ([N] for one output).
        C: Outputs.
        probabilities: y is the probability of class 1 under one logit.
    """
    if probabilities:
        check_unit_interval(y)
    elif y.dim() == 1 and not y.is_floating_point():
        _check_residual_labels(y, C)
        return y.double()[:, None] if C == 1 else F.one_hot(y.long(), C).double()
    if len(y) and y[0].numel() != C:
        raise DataError(
            f"task: targets must have one number for each of {C} outputs; got {list(y.shape)}. "
            "Pass int64 labels [N] or targets [N, C]."
        )
    return y.double().reshape(len(y), C)


def _check_residual_labels(y: Tensor, C: int) -> None:
    """Class labels [N] in 0..C-1; for one output, the two classes 0 and 1."""
    if C > 1:
        _check_range(y, C)
        return
    outside = (y < 0) | (y > 1)
    if outside.any():
        n = int(outside.nonzero()[0])
        raise DataError(
            f"task: class labels must be 0 or 1, for one output; got {int(y[n])} at sample {n}. Map the two classes "
            'to 0 and 1 with loss="binary_cross_entropy", or widen the model\'s last layer; targets of a regression '
            "are floating point."
        )


def _check_range(y: Tensor, C: int) -> None:
    if not y.numel():
        return
    low, high = torch.stack(y.aminmax()).tolist()
    if low >= 0 and high < C:
        return
    outside = ((y < 0) | (y >= C)) & ((y != IGNORED_LABEL) if y.dim() > 1 else True)
    if outside.any():
        n = int(outside.nonzero()[0, 0])
        remedy = "Map labels to 0, 1, ..." if C > 1 else 'Use loss="binary_cross_entropy"'
        raise DataError(
            f"task: labels must be in 0..{C - 1}, for {C} output{'s' if C > 1 else ''}; got {int(y[outside][0])} at "
            f"sample {n}. {remedy} or widen the model's last layer."
        )


def like_outputs(loss: str, outputs: Tensor, y: Tensor) -> Tensor:
    """``y`` in the outputs' shape: [N] may stand for [N, 1]."""
    if not y.is_floating_point():
        raise DataError(f"task: targets of {loss} must be floating point; got {y.dtype}. Pass y.to({outputs.dtype}).")
    if y.shape != outputs.shape and (y.dim() != 1 or y.numel() != outputs.numel()):
        raise DataError(
            f"task: targets of {loss} must have the outputs' shape {list(outputs.shape)}; got {list(y.shape)}. "
            "One-hot encode class labels first."
        )
    return y.reshape(outputs.shape).to(outputs.dtype)
