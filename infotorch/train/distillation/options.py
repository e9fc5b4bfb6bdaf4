"""The settings of a distillation, and which networks it can train."""

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn
from torch.optim import Optimizer

from infotorch.errors import ConfigError, check_choice, check_whole
from infotorch.train.distillation.loss import DistillLoss, check_mixture
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.options import by_memory, check_trainable, check_wrapped, memory_of
from infotorch.train.ranks import unwrapped

__all__ = ["DistillOptions", "Match", "Mode", "as_path", "check_student"]

Mode = Literal["online", "offline"]
Match = Literal["ahead", "behind"]
CHOICES: dict[str, tuple[str | None, ...]] = {
    "mode": get_args(Mode),
    "match": get_args(Match),
    "amp": (None, "bf16", "fp16"),
}


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Settings of ``distill``, checked.

    Raises:
        ConfigError: One is unknown or out of range.
    """

    where: ClassVar[str] = "distill"
    """Who asks, in errors."""

    mode: Mode = "online"
    """A teacher that trains beside the student, or the one at the end of its training."""
    tau: float = 1.0
    """Temperature."""
    alpha: float = 1.0
    """Weight of the teacher against the labels."""
    loss: DistillLoss = "ce"
    """As of ``distill_loss``."""
    match: Match = "ahead"
    """The checkpoint that closes the student's current interval, or the one that opens it."""
    steps: int
    """Optimizer steps in all."""
    amp: Literal["bf16", "fp16"] | None = None
    """Precision of the forward passes under autocast."""
    grad_accum: int = 1
    """Parts into which a step's batch is split."""
    clip_norm: float | None = None
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(self.where, name, getattr(self, name), choices)
        check_mixture(self.where, tau=self.tau, alpha=self.alpha, loss=self.loss)
        for name in ("steps", "grad_accum"):
            check_whole(self.where, name, getattr(self, name), 1)
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ConfigError(
                f"{self.where}: clip_norm must be finite and above 0; got {self.clip_norm}. Pass None for none."
            )

    def config(self) -> dict[str, Any]:
        """Every option, as JSON."""
        return asdict(self)

    def checkpoint(self, step: int, num_checkpoints: int) -> int:
        """The teacher's checkpoint j(k) that step k, from 0, learns from: equal shares of the steps, in integers."""
        last = num_checkpoints - 1
        if self.mode == "offline":
            return last
        return min(step * last // self.steps + (1 if self.match == "ahead" else 0), last)


def as_path(where: str, teacher: Any) -> TeacherPath:
    """A teacher's path; of one module, that module alone."""
    if isinstance(teacher, TeacherPath):
        return teacher
    if isinstance(teacher, nn.Module):
        return TeacherPath([teacher])
    raise ConfigError(
        f"{where}: teacher must be a TeacherPath or a module; got {type(teacher).__name__}. Pass TeacherPath(...)."
    )


def check_student(
    where: str, student: nn.Module, optimizer: Optimizer | None, path: TeacherPath, *, wrapped: bool = True
) -> None:
    """Raises where the student can't be trained, or the teacher would be trained with it.

    Args:
        where: Who asks.
        student: The student.
        optimizer: Its optimizer, where there is one already.
        path: The teacher.
        wrapped: Whether several processes must have wrapped it by now.

    Raises:
        ConfigError: It has nothing to train or shares a parameter with the teacher, the optimizer holds a parameter of
            another network, or several processes have it without DistributedDataParallel.
        NotSupported: It is sharded.
    """
    if wrapped:
        check_wrapped(where, "student", student)
    check_trainable(where, "student", student)
    names = by_memory(student)
    for module in path.modules or []:
        for name, p in unwrapped(module).named_parameters():
            if own := names.get(memory_of(p)):
                raise ConfigError(
                    f"{where}: student and teacher must share no parameter; got student.{own} = teacher.{name}. "
                    "The student's steps would move the teacher; copy it with copy.deepcopy."
                )
    known = {id(p) for p in student.parameters()}
    for p in (p for group in (optimizer.param_groups if optimizer else []) for p in group["params"]):
        if id(p) not in known:
            raise ConfigError(
                f"{where}: optimizer must hold parameters of student alone; got another one, {list(p.shape)}. "
                "Make it after the student has taken its final form."
            )
