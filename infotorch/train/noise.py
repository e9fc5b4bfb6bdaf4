"""Label noise: models of how labels go wrong, and draws from them that depend on the sample alone."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from infotorch import ops
from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.ops import LimitNoise

__all__ = ["flip_labels", "pmd", "pmd_labels", "transition_matrix"]

Kind = Literal["uniform", "symmetric_inclusive", "pair", "cifar10_asym"]
PmdKind = Literal["I", "II", "III"]
# Truck to automobile, bird to airplane, deer to horse, cat to dog, by CIFAR-10's class numbers.
CIFAR10_PAIRS = ((9, 1), (2, 0), (4, 7), (3, 5))
CAT, DOG = 3, 5
# Draws of label flips are keyed with the seed and this bit, so that they share none with the noise of gradients.
FLIPS = 1 << 63
TAU: dict[str, Callable[[Tensor], Tensor]] = {
    "I": lambda m: (1 - m**2) / 2,
    "II": lambda m: 1 - m**3,
    "III": lambda m: 1 - (m**3 + m**2 + m) / 3,
}


def transition_matrix(kind: Kind, num_classes: int, rate: float, *, both_ways: bool = False) -> Tensor:
    r"""Probabilities :math:`T_{ij} = p(\text{given label } j \mid \text{true label } i)` of a noise model.

    ``"uniform"``: a label is wrong with probability ``rate``, then any other class alike. ``"symmetric_inclusive"``:
    it is drawn anew from all classes, the true one among them, with probability ``rate``. ``"pair"``: class c turns
    into c + 1 modulo C. ``"cifar10_asym"``: truck to automobile, bird to airplane, deer to horse, cat to dog.

    The first, third and fourth are those of Harutyunyan et al., arXiv 2002.07933, section 4; much other work means the
    second by "symmetric noise", and swaps cat and dog (``both_ways``).

    Args:
        kind: The model.
        num_classes: C, at least 2; 10 for ``"cifar10_asym"``.
        rate: In [0, 1].
        both_ways: Dogs turn into cats too.

    Returns:
        float64 [C, C], each row summing to 1.

    Raises:
        ConfigError: An unknown model, or an option out of range.
    """
    where = "transition_matrix"
    check_choice(where, "kind", kind, get_args(Kind))
    if not 0 <= rate <= 1:
        raise ConfigError(
            f"{where}: rate must lie in [0, 1]; got {rate}. It is the share of labels that the model hits."
        )
    if num_classes < 2:
        raise ConfigError(f"{where}: num_classes must be at least 2; got {num_classes}. Noise needs another class.")
    if kind == "cifar10_asym" and num_classes != 10:
        raise ConfigError(
            f"{where}: cifar10_asym must have CIFAR-10's 10 classes; got {num_classes}. Use pair instead."
        )
    if both_ways and kind != "cifar10_asym":
        raise ConfigError(f"{where}: both_ways is an option of cifar10_asym; got kind={kind!r}. Leave it out.")
    C = num_classes
    same = torch.eye(C, dtype=torch.float64)
    if kind == "uniform":
        return (1 - rate) * same + rate / (C - 1) * (1 - same)
    if kind == "symmetric_inclusive":
        return (1 - rate) * same + rate / C
    if kind == "pair":
        return (1 - rate) * same + rate * same.roll(1, 1)
    T = same.clone()
    for source, target in (*CIFAR10_PAIRS, *([(DOG, CAT)] if both_ways else [])):
        T[source, source], T[source, target] = 1 - rate, rate
    return T


def flip_labels(
    y: Tensor | Sequence[int] | np.ndarray,
    T: Tensor | np.ndarray,
    *,
    seed: int = 0,
    ids: Tensor | Sequence[int] | np.ndarray | None = None,
    uniforms: Tensor | np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Noisy labels, each drawn from the row of ``T`` of its true label, and which of them differ from the true ones.

    The given label of sample n is the first class whose cumulated probability exceeds a uniform number that is keyed
    by ``seed`` and the sample's id: Philox4x32-10 with the key seed XOR 2^63 and the counter (0, 0, id's low word,
    id's high word), of whose first word the upper 24 bits are taken. So a sample's label doesn't depend on the order of
    the samples, nor on which others are there.

    Args:
        y: True labels, integers [N] in 0..C-1.
        T: Transition matrix, [C, C], each row summing to 1.
        seed: From 0 to 2^63 - 1.
        ids: int64 [N], each sample's id; default 0..N-1.
        uniforms: [N] in [0, 1), in place of the keyed numbers.

    Returns:
        The noisy labels, int64 [N], and the mask of those that differ from ``y``, bool [N].

    Raises:
        ShapeError: y, T, ids or uniforms of another shape.
        ConfigError: T has a negative entry or a row that doesn't sum to 1 within 1e-6; seed or uniforms out of range.
        DataError: A label outside 0..C-1; the text names the sample.

    Example:
        >>> flip_labels(torch.tensor([0, 1]), transition_matrix("pair", 3, 1.0))
        (tensor([1, 2]), tensor([True, True]))
    """
    where = "flip_labels"
    T = torch.as_tensor(T, dtype=torch.float64).cpu()
    if T.dim() != 2 or T.shape[0] != T.shape[1] or not len(T):
        raise ShapeError(f"{where}: T must be [C, C]; got {list(T.shape)}. Use transition_matrix.")
    wrong = ~((T >= 0).all(1) & ((T.sum(1) - 1).abs() <= 1e-6))
    if wrong.any():
        row = int(wrong.int().argmax())
        raise ConfigError(
            f"{where}: rows of T must be at least 0 and sum to 1; got row {row}, which sums to "
            f"{T[row].sum().item():.8g} with the smallest entry {T[row].min().item():g}. Normalize it."
        )
    y = _labels(where, y, len(T))
    draws = _uniforms(where, len(y), seed, ids, uniforms)
    cumulated = T.cumsum(1)
    cumulated = cumulated / cumulated[:, -1:]  # the last class of a row is reached, whatever its sum was rounded to
    noisy = torch.empty_like(y)
    for c in y.unique().tolist():
        of_class = y == c
        noisy[of_class] = torch.searchsorted(cumulated[c], draws[of_class], right=True)
    return noisy, noisy != y


def pmd(eta: Tensor | np.ndarray, kind: PmdKind = "I", factor: float = 1.0) -> Tensor:
    r"""Probability that a sample is given its second most likely class: noise that is largest between the classes.

    With the margin :math:`m = \eta_{(1)} - \eta_{(2)}` of the two largest posteriors it is
    :math:`1 - (1 - \tau(m)) / \text{factor}`, where :math:`\tau` is

    - type I: :math:`(1 - m^2) / 2`,
    - type II: :math:`1 - m^3`,
    - type III: :math:`1 - (m^3 + m^2 + m) / 3`

    (Zhang et al., "Learning with feature-dependent label noise: a progressive approach", arXiv 2103.07756; the factor,
    which raises the noise, is that of the authors' code).

    Args:
        eta: Posteriors of the clean labels, [N, C], each row summing to 1.
        kind: Which :math:`\tau`.
        factor: At least 1.

    Returns:
        float64 [N], in [0, 1].

    Raises:
        ShapeError: eta is not [N, C] with C >= 2.
        ConfigError: An unknown kind, a factor below 1, or eta out of range.
    """
    return _pmd("pmd", eta, kind, factor)[0]


def pmd_labels(
    eta: Tensor | np.ndarray,
    kind: PmdKind = "I",
    *,
    factor: float = 1.0,
    seed: int = 0,
    ids: Tensor | Sequence[int] | np.ndarray | None = None,
    uniforms: Tensor | np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """Noisy labels by ``pmd``: the most likely class, or the second one; and which are the second one.

    Args:
        eta: Posteriors of the clean labels, [N, C], each row summing to 1.
        kind: As of ``pmd``.
        factor: As of ``pmd``.
        seed: From 0 to 2^63 - 1; draws are keyed as those of ``flip_labels``.
        ids: int64 [N], each sample's id; default 0..N-1.
        uniforms: [N] in [0, 1), in place of the keyed numbers.

    Returns:
        The noisy labels, int64 [N], and the mask of those that differ from the most likely class, bool [N].

    Raises:
        ShapeError: eta, ids or uniforms of another shape.
        ConfigError: An unknown kind, or an option out of range.
    """
    probability, top = _pmd("pmd_labels", eta, kind, factor)
    flipped = _uniforms("pmd_labels", len(top), seed, ids, uniforms) < probability
    return torch.where(flipped, top[:, 1], top[:, 0]), flipped


def _pmd(where: str, eta: Any, kind: str, factor: float) -> tuple[Tensor, Tensor]:
    """Probability of the second class [N], and the two most likely classes [N, 2]."""
    check_choice(where, "kind", kind, TAU)
    if not 1 <= factor < math.inf:
        raise ConfigError(f"{where}: factor must be finite and at least 1; got {factor}. 1 leaves the noise as it is.")
    eta = torch.as_tensor(eta).detach().cpu().double()
    if eta.dim() != 2 or eta.shape[1] < 2:
        raise ShapeError(f"{where}: eta must be [N, C] with C >= 2; got {list(eta.shape)}. Pass one posterior a class.")
    wrong = ~((eta >= 0).all(1) & ((eta.sum(1) - 1).abs() <= 1e-4))
    if wrong.any():
        n = int(wrong.int().argmax())
        raise ConfigError(
            f"{where}: posteriors must be at least 0 and sum to 1; got a sum of {eta[n].sum().item():g} at sample {n}. "
            "Normalize them."
        )
    top = eta.topk(2, dim=1)
    return 1 - (1 - TAU[kind](top.values[:, 0] - top.values[:, 1])) / factor, top.indices


def _labels(where: str, y: Any, num_classes: int) -> Tensor:
    y = torch.as_tensor(y).cpu()
    if y.dim() != 1:
        raise ShapeError(f"{where}: y must be [N]; got {list(y.shape)}. Pass one label a sample.")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise DataError(f"{where}: labels must be integers; got {y.dtype}. Pass y.long().")
    y = y.long()
    outside = (y < 0) | (y >= num_classes)
    if outside.any():
        n = int(outside.int().argmax())
        raise DataError(
            f"{where}: labels must lie in 0..{num_classes - 1}; got {int(y[n])} at sample {n}. Check the label map."
        )
    return y


def _uniforms(where: str, N: int, seed: int, ids: Any, uniforms: Any) -> Tensor:
    """Numbers [N] in [0, 1): those given, or keyed by seed and id."""
    if uniforms is not None:
        draws = torch.as_tensor(uniforms, dtype=torch.float64).cpu()
        if draws.shape != (N,):
            raise ShapeError(f"{where}: uniforms must be [{N}]; got {list(draws.shape)}. Pass one number a sample.")
        if not ((draws >= 0) & (draws < 1)).all():
            raise ConfigError(
                f"{where}: uniforms must lie in [0, 1); got {draws.min():g} to {draws.max():g}. Draw anew."
            )
        return draws
    if not 0 <= seed < FLIPS:
        raise ConfigError(f"{where}: seed must be 0 to 2^63 - 1; got {seed}. Take it modulo 2^63.")
    ids = torch.arange(N) if ids is None else torch.as_tensor(ids).cpu()
    if ids.dtype != torch.int64 or ids.shape != (N,):
        raise ShapeError(f"{where}: ids must be int64 [{N}]; got {ids.dtype} {list(ids.shape)}. Pass one id a sample.")
    return ops.limit_noise(LimitNoise(seed=seed ^ FLIPS, step=0, ids=ids), 1, kind="uniform")[:, 0].double()
