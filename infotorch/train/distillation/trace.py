"""How hard a student finds its supervision, measured while it is distilled."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from infotorch.errors import ConfigError, DataError, ShapeError, check_choice, check_number, check_whole
from infotorch.measures import ComplexityReports, supervision_complexity
from infotorch.measures.supervision.of_task import SUM_TOLERANCE
from infotorch.task import Task
from infotorch.task.nest import mapped, num_samples
from infotorch.train.distillation.result import Moment
from infotorch.train.evaluation import device_of, modes_kept

__all__ = ["SupervisionTrace"]

WHERE = "SupervisionTrace"
STARTS = ("student", "zero")
TEACHER = "teacher"


class SupervisionTrace:
    r"""A callback of ``distill``: supervision complexity of targets under the student's own kernel, as it trains.

    A row is :math:`r^\top (K + \rho I)^{-1} r` and what follows from it, with K the neural tangent kernel of the logits
    of the student in eval mode and r the residual targets - f0, as of ``supervision_complexity`` (Harutyunyan et al.,
    arXiv 2301.12245). It is taken before the first step, after each ``every`` steps and after the last. Measure on held
    out samples. K takes 8 (N C)^2 bytes, and its factor :math:`(NC)^3/3` operations each time.

    Args:
        data: Inputs [N, ...], or (inputs, labels), of which the labels aren't read.
        targets: Probabilities [N, C], or logits where ``f0="zero"``; or several by name. ``"teacher"`` in place of a
            tensor stands for softmax(t/tau) of the checkpoint that the student learns from at that step.
        every: Steps between rows.
        ridge: :math:`\rho`, absolute, at least 0.
        f0: What the student already knows: ``"student"``, its predictions softmax(s/tau) at the distillation's
            temperature; ``"zero"``; or a tensor [N, C].

    Raises:
        ConfigError: An option is unknown or out of range.
        DataError: There is no sample, or targets aren't finite; with ``f0="student"``: rows don't sum to 1.
        ShapeError: Targets or f0 aren't [N, C].

    Example:
        >>> trace = SupervisionTrace(torch.randn(6, 5), torch.eye(3).repeat(2, 1), every=10, ridge=0.1, f0="student")
        >>> trace.rows
        []
    """

    def __init__(
        self,
        data: Any,
        targets: Tensor | Literal["teacher"] | Mapping[str, Tensor | Literal["teacher"]],
        *,
        every: int,
        ridge: float,
        f0: Literal["student", "zero"] | Tensor,
    ) -> None:
        check_whole(WHERE, "every", every, 1)
        ridge = check_number(WHERE, "ridge", ridge, "Correct ridge.")
        if not 0 <= ridge < math.inf:
            raise ConfigError(f"{WHERE}: ridge must be finite and at least 0; got {ridge}. Correct ridge.")
        if not isinstance(f0, Tensor):
            check_choice(WHERE, "f0", f0, STARTS)
        self.x = data[0] if isinstance(data, (tuple, list)) and data else data
        if not isinstance(self.x, (Tensor, Mapping)):
            raise DataError(
                f"{WHERE}: data must be inputs, a tensor or a dict of them, or (inputs, labels); got "
                f"{type(self.x).__name__}. Pass tensors, of a loader one batch."
            )
        self.every, self.ridge, self.f0 = every, ridge, f0
        self.targets = dict(targets) if isinstance(targets, Mapping) else {"targets": targets}
        self.rows: list[dict[str, Any]] = []
        """One dict a row and target: ``step`` (steps done), ``target``, ``tau`` (the distillation's), ``ridge``,
        ``quad``, ``complexity``, ``adjusted``, ``unit_adjusted``, ``alignment``, ``trace`` and ``residual_norm``; None
        where a measure is not known, as the last ratios of a residual of 0."""
        N = num_samples(self.x)
        if not self.targets:
            raise ConfigError(f"{WHERE}: targets must name at least one; got none. Pass a tensor or a dict.")
        for name, target in self.targets.items():
            if isinstance(target, Tensor):
                self._check_target(name, target, N)
            else:
                check_choice(WHERE, f"targets[{name!r}]", target, (TEACHER,))
        if isinstance(f0, Tensor):
            self._check_shape("f0", f0, N)

    def __call__(self, moment: Moment) -> None:
        """Adds rows, if this step is one of those.

        Raises:
            NumericsError: The student's outputs aren't finite, or K isn't definite enough for ``ridge``, which for a
                float32 student must be at least 1e-5 of its largest eigenvalue.
            ShapeError: Targets have other classes than the student.
        """
        if moment.step % self.every and moment.step != moment.options.steps:
            return
        student, tau = moment.student, moment.options.tau
        device = device_of(student)
        x = mapped(lambda part: part.to(device), self.x)
        targets = {
            name: (moment.teacher(x).double() / tau).softmax(-1) if isinstance(target, str) else target.double()
            for name, target in self.targets.items()
        }
        f0 = self.f0 if isinstance(self.f0, str) else self.f0.double()
        with modes_kept(student):
            task = Task(student.eval(), loss="cross_entropy")
            reports = supervision_complexity(task, x, targets, f0=f0, tau=tau, ridge=self.ridge)
        assert isinstance(reports, ComplexityReports)
        self.rows += [{"step": moment.step, **row} for row in reports.rows()]

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoints of ``distill``."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``."""
        self.rows[:] = [dict(row) for row in state["rows"]]

    def _check_target(self, name: str, target: Tensor, N: int) -> None:
        self._check_shape(f"targets[{name!r}]", target, N)
        if not bool(target.isfinite().all()):
            raise DataError(f"{WHERE}: targets[{name!r}] must be finite; got {target[~target.isfinite()][0].item()}. "
                            "Remove that sample.")  # fmt: skip
        sums = target.double().sum(-1)
        if isinstance(self.f0, str) and self.f0 == "student" and bool((sums - 1).abs().max() > SUM_TOLERANCE):
            wrong = sums[int((sums - 1).abs().argmax())].item()
            raise DataError(
                f"{WHERE}: rows of targets[{name!r}] must sum to 1 with f0='student'; got {wrong:.6g}. Pass "
                "probabilities, as softmax(t / tau), or f0='zero'."
            )

    @staticmethod
    def _check_shape(name: str, target: Tensor, N: int) -> None:
        if target.dim() != 2 or len(target) != N or target.is_complex():
            raise ShapeError(
                f"{WHERE}: {name} must be [N, C], N = {N}; got {list(target.shape)}. Pass a row a sample; one-hot rows "
                "of labels."
            )
