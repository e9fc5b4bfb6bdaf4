"""What a step of LIMIT takes from logits, and its keyed noise."""

import operator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from infotorch.errors import ConfigError
from infotorch.ops.dispatch import call, refuse_grad, refuse_unserved
from infotorch.ops.pair import result_dtype

__all__ = ["LimitNoise", "LimitRows", "check_logits", "limit", "limit_noise"]

Match = Literal["gaussian", "laplace", "ce"]
Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class LimitNoise:
    """The key of a step's noise: equal keys give equal draws, whatever the batch, its order, the rank or the device.

    Raises:
        ConfigError: ``seed`` or ``step`` is out of range.
    """

    seed: int
    """From 0 to 2^64 - 1."""
    step: int
    """Of the training, from 0 to 2^32 - 1: other steps give other draws."""
    ids: Tensor
    """Of the batch's samples, int64 [N] on any device: their places in the data set."""

    def __post_init__(self) -> None:
        for name, value, bits in (("seed", self.seed, 64), ("step", self.step, 32)):
            if type(value) is not int and not torch.compiler.is_compiling():  # which would make a constant of it
                object.__setattr__(self, name, value := operator.index(value))
            if not 0 <= value < 2**bits:
                must = f"{name} must be 0 to 2^{bits} - 1"
                raise ConfigError(f"LimitNoise: {must}; got {value}. Take it modulo 2^{bits}.")

    @property
    def key(self) -> tuple[int, int]:
        """Seed and step as the dispatcher's integers are."""
        return self.seed - 2**64 if self.seed >= 2**63 else self.seed, self.step


class LimitRows(NamedTuple):
    """What ``limit`` gives of every row; without a class axis where the logits have none.

    In rows that don't count all are 0, but ``top`` and ``aux_top``.
    """

    inject: Tensor
    """The predicted gradient, mu [..., C], of the logits' dtype: what the classifier gets in place of its own."""
    aux_grad: Tensor
    """Gradient of match + beta pen with respect to the auxiliary's logits [..., C], of their dtype."""
    match: Tensor
    """How far mu is from the label's gradient, [...]: squared, absolute, or the auxiliary's cross-entropy."""
    pen: Tensor
    """Squared norm of mu, [...]."""
    ce: Tensor
    """Cross-entropy of the classifier, nats times weight, [...]."""
    dist: Tensor
    """Distance of the auxiliary's probabilities to the target, [...], in [0, sqrt 2], without weights."""
    valid: Tensor
    """Which rows count, bool [...]."""
    top: Tensor
    """The classifier's first largest logit, int64 [...]; of a single logit whether it is positive."""
    aux_top: Tensor
    """The same of the auxiliary."""
    sample: Tensor | None
    """A draw of the gradient, mu plus noise [..., C], where ``noise`` was given."""


def check_logits(where: str, logits: Tensor, aux_logits: Tensor, *others: Tensor | None) -> None:
    """What only Python can say of the tensors' kind.

    Raises:
        TypeError: Logits hold no real numbers or differ in dtype, or a tensor is on another device.
        ValueError: Both logits are one tensor, or share its memory.
    """
    for name, x in (("logits", logits), ("aux_logits", aux_logits)):
        if not x.is_floating_point():
            raise TypeError(
                f"{where}: {name} must be float64, float32, bfloat16 or float16; got {_text(x.dtype)}. "
                f"Convert with {name}.to(torch.float32)."
            )
    if logits.dtype != aux_logits.dtype:
        got = f"{_text(logits.dtype)} and {_text(aux_logits.dtype)}"
        raise TypeError(
            f"{where}: logits and aux_logits must have one dtype; got {got}. Convert one with .to(logits.dtype)."
        )
    for other in (aux_logits, *others):
        if other is not None and other.device != logits.device:
            got = f"{logits.device} and {other.device}"
            raise TypeError(f"{where}: all tensors must be on one device; got {got}. Move one with .to(logits.device).")
    if torch.compiler.is_compiling():
        return  # what is compiled can't tell; the kernel will
    if logits.numel() and torch._C._is_alias_of(logits, aux_logits):  # type: ignore[attr-defined]  # not in its stub
        raise ValueError(
            f"{where}: aux_logits must come from another network than logits; got tensors that share memory. "
            "The predicted gradient would be zero; build a separate auxiliary network."
        )


def _text(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def limit(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: Match = "gaussian",
    beta: float = 0.0,
    weight: Tensor | None = None,
    pos_weight: float | Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    lam: float | None = None,
    noise: LimitNoise | None = None,
    where: str = "limit",
) -> LimitRows:
    r"""Row results of LIMIT: the predicted gradient and its distance to the label's, in one pass over the logits.

    With :math:`s` and :math:`u` the softmax of both networks' logits, :math:`t` the target and :math:`w` the weights,

    .. math:: g = (w \cdot t) s - w t, \quad \mu = (w \cdot u) s - w u,

    the row's loss for the auxiliary network is ``match + beta * pen``: match is :math:`\|g - \mu\|_2^2`
    (``"gaussian"``), :math:`\|g - \mu\|_1` (``"laplace"``) or its cross-entropy (``"ce"``), pen is
    :math:`\|\mu\|_2^2`. The classifier gets :math:`\mu`, in which the label has no part. Harutyunyan, Reing, Ver
    Steeg, Galstyan, "Improving generalization by controlling label-noise information in neural network weights"
    (arXiv:2002.07933), section 3; the weights are ours, there are none in the paper.

    A single logit, [N] or [..., 1], has sigmoids in place of softmaxes and ``pos_weight`` p in place of weights:
    :math:`\mu = s (p u + 1 - u) - p u`. Match (not cross-entropy) and pen are half of those of two logits.

    Half inputs are read once, all is computed in float32, and only ``inject``, ``aux_grad`` and ``sample`` are
    rounded to their dtype. A logit of -inf masks its class.

    Args:
        logits: The classifier's, [..., C], or [N] of a single logit; float64, float32, bfloat16 or float16.
        aux_logits: The auxiliary's, of that shape and dtype.
        target: Labels, int64 [...], or probabilities [..., C] of the logits' dtype or what is computed in.
        q: The density of the label's gradient about the predicted one.
        beta: Weight of pen in ``aux_grad``.
        weight: Of the classes, [C].
        pos_weight: Of the positive class of a single logit.
        label_smoothing: Share of the target that is spread over all classes.
        ignore_index: Rows with this label don't count.
        mask: Rows that count, bool [...].
        lam: Precision of the noise: its variance is 1 / (2 lam) (``"gaussian"``), its scale 1 / lam (``"laplace"``).
        noise: Asks for ``sample``, with ``lam``. Positions of a sequence draw as samples of their own.
        where: Who asks, in errors.

    Returns:
        Ten tensors, detached. On a GPU, where nobody waits to read a target, a row whose target is none has NaN in
        ``match``, ``ce``, ``dist`` and ``aux_grad``; on the CPU it raises.

    Raises:
        ValueError: Shapes disagree, a target or an option is out of range, or both logits are one tensor.
        TypeError: Dtypes or devices disagree.
        NotSupported: Logits that require grad: ``infotorch.train.limit_gradient`` has the way back.

    Example:
        >>> limit(torch.zeros(1, 2), torch.tensor([[0.0, -1e3]]), torch.tensor([0])).inject
        tensor([[-0.5000,  0.5000]])
    """
    if pos_weight is not None:
        pos_weight = torch.as_tensor(pos_weight, dtype=result_dtype(logits), device=logits.device)
    ids, seed, step = (None, 0, 0) if noise is None else (noise.ids.to(logits.device), *noise.key)
    check_logits(where, logits, aux_logits, target, weight, pos_weight, mask, ids)
    inject, aux_grad, sample, *of_rows = call(
        torch.ops.infotorch.limit.default,
        logits, aux_logits, target, q, float(beta), weight, pos_weight, float(label_smoothing), ignore_index, mask,
        None if lam is None else float(lam), ids, seed, step, where,
    )  # fmt: skip
    rows = logits.shape if logits.dim() == 1 else logits.shape[:-1]
    match, pen, ce, dist, valid, top, aux_top = (x.view(rows) for x in of_rows)
    return LimitRows(
        inject=inject.view(logits.shape),
        aux_grad=aux_grad.view(logits.shape),
        match=match,
        pen=pen,
        ce=ce,
        dist=dist,
        valid=valid,
        top=top,
        aux_top=aux_top,
        sample=None if noise is None else sample.view(logits.shape),
    )


def limit_noise(
    noise: LimitNoise, num_classes: int, *, kind: Literal["gaussian", "laplace", "uniform", "words"] = "gaussian"
) -> Tensor:
    """Keyed draws of unit scale: standard normal, or Laplace of scale 1, or what both are made of.

    Number c of a sample is a function of seed, step, id and c alone, by Philox4x32-10 (Salmon, Moraes, Dror, Shaw,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011); csrc/limit_noise.h states the format.

    Args:
        noise: Seed, step and ids [N].
        num_classes: C, how many numbers each sample draws.
        kind: The distribution; ``"uniform"`` is on (0, 1) with 24 bits, ``"words"`` are integers below 2^32.

    Returns:
        [N, C], float64, int64 for ``"words"``.

    Raises:
        ValueError: ``kind`` or ``num_classes`` is out of range, or ids aren't int64 [N].

    Example:
        >>> limit_noise(LimitNoise(seed=0, step=0, ids=torch.arange(2)), 1, kind="words").shape
        torch.Size([2, 1])
    """
    drawn = call(torch.ops.infotorch.limit_noise.default, noise.ids, num_classes, *noise.key, kind)
    return drawn.long() if kind == "words" else drawn


@torch.library.register_fake("infotorch::limit")
def _fake(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    q: str,
    beta: float,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    lam: float | None = None,
    ids: Tensor | None = None,
    seed: int = 0,
    step: int = 0,
    where: str = "limit",
) -> Results:
    C = 1 if logits.dim() == 1 else logits.shape[-1]
    N = logits.shape[:1].numel() if logits.dim() == 1 else logits.shape[:-1].numel()
    numbers = [logits.new_empty(N, C) for _ in range(2)]
    sample = logits.new_empty(0) if ids is None else logits.new_empty(N, C)
    match, pen, ce, dist = (logits.new_empty(N, dtype=result_dtype(logits)) for _ in range(4))
    tops = [logits.new_empty(N, dtype=torch.int64) for _ in range(2)]
    return *numbers, sample, match, pen, ce, dist, logits.new_empty(N, dtype=torch.bool), *tops  # type: ignore[return-value]  # two lists of two


@torch.library.register_fake("infotorch::limit_noise")
def _fake_noise(ids: Tensor, num_classes: int, seed: int, step: int, kind: str = "gaussian") -> Tensor:
    return ids.new_empty((ids.shape[0], num_classes), dtype=torch.float64)


for _op in ("limit", "limit_noise"):
    refuse_unserved(_op)
refuse_grad("limit")
