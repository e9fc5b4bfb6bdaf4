"""The loss of a student that learns from a teacher's logits."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import ConfigError, DataError, DivergenceError, ShapeError, check_choice
from infotorch.ops.pair import result_dtype
from infotorch.task.classes import out_of_range
from infotorch.task.targets import IGNORED_LABEL

__all__ = ["LOSSES", "DistillLoss", "check_loss", "check_mixture", "distill_loss"]

WHERE = "distill_loss"
DistillLoss = Literal["ce", "kl", "mse"]
LOSSES = ("ce", "kl", "mse")


def check_mixture(where: str, *, tau: float, alpha: float, loss: str) -> None:
    """Raises where there is no such loss.

    Raises:
        ConfigError: ``tau`` isn't above 0, ``alpha`` is outside of [0, 1], or ``loss`` is unknown.
    """
    check_choice(where, "loss", loss, LOSSES)
    if not 0 < tau < math.inf:
        raise ConfigError(f"{where}: tau must be finite and above 0; got {tau}. Pass tau=1.0 for no softening.")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"{where}: alpha must lie in [0, 1]; got {alpha}. Pass alpha=1.0 for the teacher alone.")


def check_loss(where: str, value: float, step: int, j: int) -> None:
    """Refuses a loss that isn't finite.

    Raises:
        DivergenceError: It isn't; the text names the step and the teacher's checkpoint.
    """
    if not math.isfinite(value):
        raise DivergenceError(
            f"{where}: the loss must be finite; got {value} in step {step}, from checkpoint {j}. "
            "Lower the learning rate, and look at the inputs and the teacher's logits.",
            step=step, where="loss", value=value,
        )  # fmt: skip


def distill_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    *,
    tau: float = 1.0,
    alpha: float = 1.0,
    loss: DistillLoss = "ce",
) -> Tensor:
    r"""The student's loss against labels and a teacher's softened predictions, summed over samples, nats.

    .. math:: (1-\alpha) \sum CE(y, s) + \alpha \tau^2 \sum CE(\sigma(t/\tau), \sigma(s/\tau))

    s and t are the logits of student and teacher, :math:`\sigma` is softmax, y the labels (Harutyunyan, Rawat, Menon,
    Kim, Kumar, arXiv 2301.12245). ``"kl"`` is the same less the entropy of the teacher's softened predictions, times
    :math:`\alpha \tau^2`: 0 where the two agree, with the same gradient. ``"mse"`` has
    :math:`\alpha \frac12 \sum \|s - t\|^2` in its place, in which ``tau`` has no part.

    :math:`\tau^2` keeps the gradient in s, :math:`(1-\alpha)(\sigma(s) - e_y) + \alpha\tau(\sigma(s/\tau) -
    \sigma(t/\tau))`, from vanishing as ``tau`` grows: at :math:`\tau \to \infty` it is that of logits matched after
    centring, over C. For a mean, divide by the number of samples. No gradient reaches the teacher.

    Args:
        student_logits: [..., C] with C at least 2, any floating dtype; computed in float32 or wider, summed in float64.
        teacher_logits: Of the same shape; a stored dtype may be narrower. At -inf a class is ruled out.
        labels: Classes, int64 [...], -100 where there is none, which leaves that sample the teacher alone. Needed where
            ``alpha`` is below 1.
        tau: Temperature, above 0.
        alpha: Weight of the teacher, in [0, 1].
        loss: As above.

    Returns:
        A scalar of the wider of the student's dtype and float32.

    Raises:
        ConfigError: An option is out of range or unknown, or ``alpha`` is below 1 without labels.
        DataError: A label is no class.
        ShapeError: The logits disagree on their shape, or the labels on theirs.

    Example:
        >>> s, t = torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> distill_loss(s, t, tau=4.0, loss="kl")
        tensor(0.)
    """
    check_mixture(WHERE, tau=tau, alpha=alpha, loss=loss)
    if alpha < 1 and labels is None:
        raise ConfigError(
            f"{WHERE}: alpha below 1 needs labels; got alpha={alpha} and none. Pass labels, or alpha=1.0."
        )
    _check_logits(student_logits, teacher_logits)
    s = student_logits.to(result_dtype(student_logits))
    t = teacher_logits.detach().to(s)
    total = s.new_zeros((), dtype=torch.float64)
    if alpha > 0 and loss == "mse":
        total = total + alpha * 0.5 * (s - t).square().sum(dtype=torch.float64)
    elif alpha > 0:
        log_student, log_teacher = F.log_softmax(s / tau, -1), F.log_softmax(t / tau, -1)
        # Of the difference and not of two sums: what agrees to the bit has a divergence of 0.
        distance = log_teacher - log_student if loss == "kl" else -log_student
        p = log_teacher.exp()
        there = p != 0  # a class that the teacher rules out, by a logit of -inf, costs nothing
        total = total + alpha * tau**2 * (p * distance.where(there, 0)).sum(dtype=torch.float64)
    if alpha < 1:
        assert labels is not None  # checked above
        total = total + (1 - alpha) * _cross_entropy(s, labels)
    return total.to(s.dtype)


def _cross_entropy(s: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy of the labels that are there, float64."""
    if labels.shape != s.shape[:-1]:
        raise ShapeError(
            f"{WHERE}: labels must be one a row of logits, {list(s.shape[:-1])}; got {list(labels.shape)}. "
            "Pass classes, not one-hot rows."
        )
    if labels.is_floating_point():
        raise DataError(f"{WHERE}: labels must be classes, int64; got {labels.dtype}. Take the argmax of soft labels.")
    labels = labels.to(s.device).long()
    if (wrong := out_of_range(s, labels)).any():
        raise DataError(
            f"{WHERE}: labels must lie in 0..{s.shape[-1] - 1} or equal {IGNORED_LABEL}; got {int(labels[wrong][0])}. "
            "Check the label map."
        )
    rows = F.cross_entropy(
        s.flatten(0, -2), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="none"
    )  # [N], 0 without a label
    return rows.sum(dtype=torch.float64)


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    for name, logits in (("student_logits", student), ("teacher_logits", teacher)):
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() < 2:
            got = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(
                f"{WHERE}: {name} must be a floating tensor [..., C]; got {got}. Return logits from both networks."
            )
    if student.shape[-1] != teacher.shape[-1]:
        raise ShapeError(
            f"{WHERE}: student and teacher must have the same classes; got {student.shape[-1]} and "
            f"{teacher.shape[-1]}. Take a teacher of the same task."
        )
    if student.shape[-1] < 2:
        raise ShapeError(
            f"{WHERE}: logits must be of at least 2 classes; got {student.shape[-1]}. Give a single logit z as (0, z)."
        )
    if student.shape != teacher.shape:
        raise ShapeError(
            f"{WHERE}: student_logits and teacher_logits must have one shape; got {list(student.shape)} and "
            f"{list(teacher.shape)}. Run both on the same batch."
        )
