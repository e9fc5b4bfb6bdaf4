"""Distillation in a Lightning training whose ``training_step`` stays as it is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from infotorch.errors import ConfigError
from infotorch.task.classes import labelled
from infotorch.train import checkpoint
from infotorch.train.distillation.loss import DistillLoss, distill_loss
from infotorch.train.distillation.options import DistillOptions, Match, Mode, as_path, check_student
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.evaluation import evaluating
from infotorch.train.injection import check_cross_entropy, inject, label_gradient
from infotorch.train.lightning import Callback, labels_in, submodule
from infotorch.train.ranks import unwrapped

__all__ = ["DistillCallback"]

WHERE = "DistillCallback"


class CallbackOptions(DistillOptions):
    """Settings of ``DistillCallback``, checked."""

    where = WHERE


class DistillCallback(Callback):
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
        MissingExtraError: Lightning is not installed.

    Example:
        >>> distill = DistillCallback(TeacherPath("teacher", model=net), tau=4.0, module="net")  # doctest: +SKIP
        >>> lightning.Trainer(max_epochs=20, callbacks=[distill]).fit(module, train_loader)  # doctest: +SKIP
    """

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
        super().__init__()
        self._given: dict[str, Any] = {"mode": mode, "tau": tau, "alpha": alpha, "loss": loss, "match": match}
        self._steps = steps
        self.options = CallbackOptions(**self._given, steps=1 if steps is None else steps)
        self.path, self.module = as_path(WHERE, teacher), module
        self.batch_labels, self.batch_ids = batch_labels, batch_ids
        self.history: list[dict[str, Any]] = []
        """One entry a batch, as of ``DistillResult``."""
        self._hook: Any = None
        self._trainer: Any = None
        self._batch: Any = None
        self._called = self._arrived = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Counts the steps, and hooks the classifier."""
        if not pl_module.automatic_optimization:
            raise ConfigError(
                f"{WHERE}: the module must leave its optimization to Lightning; got automatic_optimization=False. "
                "Use distill_loss in its training_step."
            )
        steps = trainer.estimated_stepping_batches if self._steps is None else self._steps
        if not math.isfinite(steps):
            raise ConfigError(f"{WHERE}: the training must have a number of steps; got {steps}. Pass steps=.")
        self.options = CallbackOptions(**self._given, steps=int(steps))
        classifier = submodule(WHERE, pl_module, self.module)
        check_student(WHERE, pl_module, None, self.path, wrapped=False)
        for teacher in self.path.modules or []:
            teacher.to(pl_module.device)
        self.on_exception(trainer, pl_module, None)
        self._trainer = trainer
        self._hook = classifier.register_forward_hook(self._on_forward, with_kwargs=True)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keeps the batch for the hook."""
        self._batch, self._called, self._arrived = batch, False, False

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Refuses a step in which no gradient was replaced."""
        if not self._arrived:
            got = "one without a gradient" if self._called else "no such call"
            raise ConfigError(
                f"{WHERE}: training_step must make its loss from a call of {self.module!r}; got {got}. Name the module "
                "whose logits the loss is of."
            )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """What runs between batches runs without the hook."""
        self._batch = None

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Takes the hook away."""
        self.on_exception(trainer, pl_module, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException | None) -> None:
        """Takes the hook away."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._trainer = self._batch = None

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

    def _on_forward(self, module: nn.Module, args: Any, kwargs: Any, logits: Any) -> Tensor | None:
        if self._batch is None or not torch.is_grad_enabled():
            return None
        if self._called:
            raise ConfigError(
                f"{WHERE}: {self.module!r} must be called once a batch; got a second call. Concatenate its inputs, or "
                "use distill_loss in training_step. Optimizers with closures, as LBFGS, can't be used."
            )
        self._called = True
        if not isinstance(logits, Tensor):
            raise ConfigError(
                f"{WHERE}: {self.module!r} must return its logits, a tensor; got {type(logits).__name__}. Name the "
                "module that does."
            )
        step = self._trainer.global_step
        j = self.options.checkpoint(min(step, self.options.steps - 1), len(self.path))
        args, kwargs = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, (args, kwargs))
        t = self._teacher(j, args, kwargs, logits.device)
        labels = labels_in(WHERE, self._batch, self.batch_labels).to(logits.device)
        there = labelled(logits, labels)
        with torch.enable_grad():
            s = logits.detach().requires_grad_()
            options = self.options
            value = distill_loss(
                s[there], t[there], labels[there], tau=options.tau, alpha=options.alpha, loss=options.loss
            )
            (gradient,) = torch.autograd.grad(value, s)
        agree = (s.argmax(-1) == t.argmax(-1)).double().mean()
        self.history.append({"step": step, "loss": float(value), "checkpoint": j, "fidelity": float(agree)})
        label = label_gradient(logits.detach(), labels)
        scaler = getattr(self._trainer.precision_plugin, "scaler", None)
        parts = self._trainer.accumulate_grad_batches

        def factor(upstream: Tensor) -> Tensor:
            self._arrived = True
            outer = (1.0 if scaler is None else scaler.get_scale()) / parts
            k = outer / there.sum().clamp(min=1).to(torch.promote_types(upstream.dtype, torch.float32))
            check_cross_entropy(WHERE, upstream, label, k)
            return k

        return inject(logits, gradient, factor)

    def _teacher(self, j: int, args: Any, kwargs: Any, device: torch.device) -> Tensor:
        if self.path.stored:
            ids = None if self.batch_ids is None else self.batch_ids(self._batch)
            return self.path.recorded(WHERE, j, args[0], ids).to(device)
        teacher = unwrapped(self.path.module(j, device))
        with evaluating(teacher):
            return teacher(*args, **kwargs)
