"""Distillation in a Lightning training whose ``training_step`` stays as it is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError
from infotorch.task.classes import labelled
from infotorch.train import checkpoint
from infotorch.train.distillation.loss import DistillLoss, check_loss, distill_loss
from infotorch.train.distillation.options import DistillOptions, Match, Mode, as_path, check_student
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.evaluation import evaluating
from infotorch.train.injection import check_cross_entropy, inject, label_gradient
from infotorch.train.lightning import HookedCallback, labels_in, submodule
from infotorch.train.ranks import unwrapped

__all__ = ["DistillCallback"]

WHERE = "DistillCallback"


class CallbackOptions(DistillOptions):
    """Settings of ``DistillCallback``, checked."""

    where = WHERE


class DistillCallback(HookedCallback):
    r"""Distillation as a Lightning callback: a classifier inside of the module learns from a teacher's checkpoints.

    The module's ``training_step`` stays as it is, cross-entropy and all. The logits of its classifier are hooked: the
    gradient that comes back to them is replaced by that of ``distill_loss``, divided by the batch's labels as the mean
    that it stands for. The teacher gets the classifier's own inputs. Samples without a label teach nothing. That the
    loss is the mean cross-entropy of these logits is checked at every step, as in ``LimitCallback``.

    The schedule counts the optimizer's steps, of ``trainer.estimated_stepping_batches``; a training that Lightning
    resumes goes on with it.

    Args:
        teacher: As of ``distill``, like the next five.
        mode: See there.
        tau: See there.
        alpha: See there.
        loss: See there.
        match: See there.
        steps: Optimizer steps in all; default those that Lightning estimates.
        module: Path of the classifier in the module, ``""`` for the module itself; it returns logits [N, C], and is
            called once a batch.
        batch_labels: Gives a batch's labels, int64 [N]; default ``batch["labels"]`` or ``batch[1]``.
        batch_ids: Gives a batch's sample ids, int64 [N], which stored logits need.

    Raises:
        ConfigError: An option is unknown or out of range; at the start of ``fit``: the module hasn't such a classifier
            or shares a parameter with the teacher, optimizes manually, or has no number of steps. In training: the loss
            is no plain cross-entropy, or the classifier isn't called once.
        DivergenceError: In training: the loss isn't finite.
        MissingExtraError: Lightning is not installed.

    Example:
        >>> distill = DistillCallback(TeacherPath("teacher", model=net), tau=4.0, module="net")  # doctest: +SKIP
        >>> lightning.Trainer(max_epochs=20, callbacks=[distill]).fit(module, train_loader)  # doctest: +SKIP
    """

    where, instead = WHERE, "distill_loss"

    def __init__(
        self,
        teacher: TeacherPath | nn.Module,
        *,
        mode: Mode = "online",
        tau: float = 1.0,
        alpha: float = 1.0,
        loss: DistillLoss = "ce",
        match: Match = "ahead",
        steps: int | None = None,
        module: str = "model",
        batch_labels: Callable[[Any], Tensor] | None = None,
        batch_ids: Callable[[Any], Tensor] | None = None,
    ) -> None:
        super().__init__(module, batch_labels, batch_ids)
        self._given: dict[str, Any] = {"mode": mode, "tau": tau, "alpha": alpha, "loss": loss, "match": match}
        self._steps = steps
        self.options = CallbackOptions(**self._given, steps=1 if steps is None else steps)
        self.path = as_path(WHERE, teacher)
        self.history: list[dict[str, Any]] = []
        """One entry a batch, as of ``DistillResult``."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Counts the steps, and hooks the classifier."""
        self._check_automatic(pl_module)
        steps = trainer.estimated_stepping_batches if self._steps is None else self._steps
        if not math.isfinite(steps):
            raise ConfigError(f"{WHERE}: the training must have a number of steps; got {steps}. Pass steps=.")
        self.options = CallbackOptions(**self._given, steps=int(steps))
        classifier = submodule(WHERE, pl_module, self.module)
        check_student(WHERE, pl_module, None, self.path, wrapped=False)
        for teacher in self.path.modules or []:
            teacher.to(pl_module.device)
        self._start(trainer, classifier)

    def state_dict(self) -> dict[str, Any]:
        """The settings and the history, for Lightning's checkpoints; the step is Lightning's own."""
        return {"config": self._config(), "history": [dict(entry) for entry in self.history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from ``state_dict``.

        Raises:
            ConfigError: It is that of other settings.
        """
        checkpoint.check_config(
            state_dict["config"], self._config(), None, where=f"{WHERE}.load_state_dict", remedy="Build it so"
        )
        self.history = [dict(entry) for entry in state_dict["history"]]

    def _config(self) -> dict[str, Any]:
        return {**self._given, "checkpoints": len(self.path)}

    def _replaced(self, args: Any, kwargs: Any, logits: Tensor) -> Tensor:
        step = self._trainer.global_step
        j = self.options.checkpoint(min(step, self.options.steps - 1), len(self.path))
        t = self._teacher(j, args, kwargs, logits.device)
        labels = labels_in(WHERE, self._batch, self.batch_labels).to(logits.device)
        there = labelled(logits, labels)
        with torch.enable_grad():
            s = logits.detach().requires_grad_()
            options = self.options
            value = distill_loss(
                s[there], t[there], labels[there], tau=options.tau, alpha=options.alpha, loss=options.loss
            )
            check_loss(WHERE, float(value), step, j)
            (gradient,) = torch.autograd.grad(value, s)
        agree = (s.argmax(-1) == t.argmax(-1)).double().mean()
        self.history.append({"step": step, "loss": float(value), "checkpoint": j, "fidelity": float(agree)})
        label = label_gradient(logits.detach(), labels)

        def factor(upstream: Tensor) -> Tensor:
            self._arrived = True
            k = self._outer / there.sum().clamp(min=1).to(torch.promote_types(upstream.dtype, torch.float32))
            check_cross_entropy(WHERE, upstream, label, k)
            return k

        return inject(logits, gradient, factor)

    def _teacher(self, j: int, args: Any, kwargs: Any, device: torch.device) -> Tensor:
        if self.path.stored:
            return self.path.recorded(WHERE, j, args[0], self._ids()).to(device)
        teacher = unwrapped(self.path.module(j, device))
        with evaluating(teacher):
            return teacher(*args, **kwargs)
