"""Losses that label noise harms less than cross-entropy, for comparison with LIMIT."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import ConfigError, ShapeError, check_choice
from infotorch.task.targets import check_classes

__all__ = ["dmi", "forward_correction", "gce", "mae"]

Reduction = Literal["mean", "sum", "none"]


def mae(logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""Mean absolute error of the probabilities, :math:`\|p - t\|_1 = 2 (1 - p_y)`.

    (Ghosh, Kumar and Sastry, "Robust loss functions under label noise for deep neural networks", arXiv 1712.09482.)

    Args:
        logits: [N, C].
        target: Labels, int64 [N], or probabilities, [N, C].
        reduction: Over the samples.

    Returns:
        A scalar, or [N], in [0, 2].

    Raises:
        DataError: Shapes disagree, or a label lies outside 0..C-1.
        ConfigError: An unknown reduction.
    """
    _check("mae", logits)
    check_classes(logits, target)
    p = logits.softmax(1)
    if target.is_floating_point():
        return _reduced("mae", (p - target).abs().sum(1), reduction)
    others = p.scatter(1, target[:, None], 0.0).sum(1)  # 1 - p_y would lose its digits where p_y is close to 1
    return _reduced("mae", 2 * others, reduction)


def gce(logits: Tensor, target: Tensor, *, q: float = 0.7, reduction: Reduction = "mean") -> Tensor:
    r"""Generalized cross-entropy, :math:`(1 - p_y^q) / q`: cross-entropy as q goes to 0, half of ``mae`` at q = 1.

    (Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
    arXiv 1805.07836, eq. 6.)

    Args:
        logits: [N, C].
        target: Labels, int64 [N].
        q: In (0, 1].
        reduction: Over the samples.

    Returns:
        A scalar, or [N], in [0, 1/q].

    Raises:
        DataError: Shapes disagree, or a label lies outside 0..C-1.
        ConfigError: An unknown reduction, or q out of range.
    """
    if not 0 < q <= 1:
        raise ConfigError(f"gce: q must lie in (0, 1]; got {q}. Use cross-entropy for q = 0.")
    log_p = _log_probability("gce", logits, target)
    return _reduced("gce", -torch.expm1(q * log_p) / q, reduction)


def forward_correction(logits: Tensor, target: Tensor, *, T: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Cross-entropy of the noisy label's probability, :math:`-\log (p^\top T)_y`.

    (Patrini et al., "Making deep neural networks robust to label noise: a loss correction approach", arXiv 1609.03683,
    theorem 2.)

    Args:
        logits: [N, C].
        target: Noisy labels, int64 [N].
        T: Probabilities of the noisy label (columns) given the true one (rows), [C, C].
        reduction: Over the samples.

    Returns:
        A scalar, or [N], in nats.

    Raises:
        DataError: Shapes disagree, or a label lies outside 0..C-1.
        ShapeError: T is not [C, C].
        ConfigError: An unknown reduction, or a row of T is negative or doesn't sum to 1 within 1e-6.
    """
    where = "forward_correction"
    _labelled(where, logits, target)
    C = logits.shape[1]
    if T.shape != (C, C):
        raise ShapeError(f"{where}: T must be [{C}, {C}]; got {list(T.shape)}. Use noise.transition_matrix.")
    if not ((T >= 0).all() and ((T.double().sum(1) - 1).abs() <= 1e-6).all()):
        raise ConfigError(
            f"{where}: rows of T must be at least 0 and sum to 1; got sums from {T.sum(1).min():g} to "
            f"{T.sum(1).max():g} and the smallest entry {T.min():g}. Normalize its rows."
        )
    to_given = T.to(logits).log().mT[target]  # [N, C], how likely each true class is to be given as this label
    return _reduced(where, -torch.logsumexp(logits.log_softmax(1) + to_given, 1), reduction)


def dmi(logits: Tensor, target: Tensor) -> Tensor:
    r"""Determinant-based mutual information of a batch, :math:`-\log(|\det(Y^\top P)| + 0.001)`.

    Y [N, C] are the one-hot labels, P [N, C] the probabilities (Xu et al., "L_DMI: a novel information-theoretic loss
    function for training deep nets robust to label noise", arXiv 1909.03388). As in the comparison of arXiv 2002.07933,
    the joint distribution is not divided by N, which would add C log N.

    Args:
        logits: [N, C]; N well above C, or the determinant vanishes.
        target: Labels, int64 [N].

    Returns:
        A scalar: the loss of the batch as a whole, no mean of samples.

    Raises:
        DataError: Shapes disagree, or a label lies outside 0..C-1.
    """
    _labelled("dmi", logits, target)
    joint = F.one_hot(target, logits.shape[1]).to(logits.dtype).mT @ logits.softmax(1)  # [C, C]
    return -torch.log(torch.linalg.det(joint).abs() + 0.001)


def _check(where: str, logits: Tensor) -> None:
    if logits.dim() != 2 or not logits.is_floating_point():
        raise ShapeError(
            f"{where}: logits must be floating point [N, C]; got {logits.dtype} {list(logits.shape)}. "
            "Flatten positions into rows first."
        )


def _labelled(where: str, logits: Tensor, target: Tensor) -> None:
    _check(where, logits)
    if target.is_floating_point():
        raise ConfigError(f"{where}: target must be labels, int64 [N]; got {target.dtype}. Take argmax, or use mae.")
    check_classes(logits, target)


def _log_probability(where: str, logits: Tensor, target: Tensor) -> Tensor:
    """The logarithm of p_y, [N]."""
    _labelled(where, logits, target)
    return logits.log_softmax(1).gather(1, target[:, None])[:, 0]


def _reduced(where: str, rows: Tensor, reduction: str) -> Tensor:
    check_choice(where, "reduction", reduction, ("mean", "sum", "none"))
    return rows if reduction == "none" else rows.mean() if reduction == "mean" else rows.sum()
