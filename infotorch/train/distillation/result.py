"""What a distillation tells while it goes on, and leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from infotorch.train.distillation.options import DistillOptions

__all__ = ["Callback", "DistillResult", "Moment"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a distillation is, between two steps."""

    step: int
    """Steps done."""
    options: DistillOptions
    """The settings."""
    student: nn.Module
    """The student, without its distributed wrapper."""
    checkpoint: int
    """The teacher's checkpoint that the next step learns from; after the last step, that of the last."""
    teacher: Callable[[Any], Tensor]
    """Logits of this checkpoint on inputs."""
    entry: dict[str, Any] | None
    """The history's entry of the step just done; ``None`` before the first."""


Callback = Callable[[Moment], None]
"""Called before the first step and after every one. One with ``state_dict`` and ``load_state_dict`` is resumed."""


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """A finished distillation; the student itself was trained."""

    history: list[dict[str, Any]] = field(repr=False)
    """One entry a step: ``step`` (from 0), ``loss`` (of the step's batch as before the step, summed over its samples on
    all ranks, nats), ``checkpoint`` (the teacher's, from 0) and ``fidelity`` (share of the batch in which student and
    teacher name the same class)."""
    skipped: int
    """Steps whose scaled fp16 gradients overflowed, in which the student stayed."""
