"""Distillation in the Trainer of transformers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.errors import ConfigError, DataError
from infotorch.task.targets import IGNORED_LABEL
from infotorch.train.distillation.loss import DistillLoss, check_loss, distill_loss
from infotorch.train.distillation.options import DistillOptions, Match, Mode, as_path, check_student
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.evaluation import evaluating
from infotorch.train.huggingface import Trainer, logits_in, predicts_next

__all__ = ["DistillHFTrainer"]

WHERE = "DistillHFTrainer"


class TrainerOptions(DistillOptions):
    """Settings of ``DistillHFTrainer``, checked."""

    where = WHERE


class DistillHFTrainer(Trainer):
    r"""The Trainer of transformers, whose model learns from a teacher's checkpoints.

    The loss is ``distill_loss`` over the labels' places, those of -100 left out, divided as the Trainer does: by the
    labels of all accumulated batches and processes where it counts them (``num_items_in_batch``), else by those of the
    batch. Of a causal language model labels are shifted by one, as it does itself. Without labels, which ``alpha=1``
    allows, every row of logits counts. The teacher gets the model's inputs without labels. Evaluation is the model's
    own.

    The schedule counts the optimizer's steps, ``state.global_step`` of ``state.max_steps``; a training that is resumed
    goes on with it.

    Args:
        *args: As for ``Trainer``.
        teacher: As of ``distill``, like the next five; its modules return logits, alone, first in a tuple or as
            ``logits``. Stored logits need a column ``ids``, and inputs padded to one length.
        mode: See there.
        tau: See there.
        alpha: See there.
        loss: See there.
        match: See there.
        **kwargs: As for ``Trainer``.

    Raises:
        ConfigError: An option is unknown or out of range, or one of Trainer's that doesn't go with this class; the
            model shares a parameter with the teacher.
        MissingExtraError: transformers or accelerate is not installed.

    Example:
        >>> trainer = DistillHFTrainer(model, args, teacher=path, tau=4.0, train_dataset=data)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    def __init__(
        self,
        *args: Any,
        teacher: TeacherPath | nn.Module,
        mode: Mode = "online",
        tau: float = 1.0,
        alpha: float = 1.0,
        loss: DistillLoss = "ce",
        match: Match = "ahead",
        **kwargs: Any,
    ) -> None:
        self._given: dict[str, Any] = {"mode": mode, "tau": tau, "alpha": alpha, "loss": loss, "match": match}
        TrainerOptions(**self._given, steps=1)
        self.path = as_path(WHERE, teacher)
        super().__init__(*args, **kwargs)
        check_student(WHERE, self.model, None, self.path, wrapped=False)
        for module in self.path.modules or []:
            module.to(self.args.device)
        for name, wrong in (
            ("compute_loss_func", self.compute_loss_func is not None),
            ("label_smoothing_factor", self.args.label_smoothing_factor != 0),
        ):
            if wrong:
                raise ConfigError(f"{WHERE}: {name} does not go with a teacher; got it. Leave it out.")
        self.history: list[dict[str, Any]] = []
        """One entry a batch, as of ``DistillResult``."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """In training the distillation's loss; else the model's own.

        Raises:
            ConfigError: A model doesn't return logits.
            DivergenceError: The loss isn't finite.
            DataError: ``alpha`` is below 1 and the batch has no labels; or logits are stored, and ids are missing or
                inputs are others.
        """
        inputs = dict(inputs)
        ids = inputs.pop("ids", None)
        if not model.training:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch, **kwargs
            )
        options = TrainerOptions(**self._given, steps=max(self.state.max_steps, 1))
        labels, shifted = inputs.pop("labels", None), inputs.pop("shift_labels", None)
        if labels is None and options.alpha < 1:
            raise DataError(f"{WHERE}: alpha below 1 needs labels; got {sorted(inputs)}. Let the collator return them.")
        if shifted is not None:
            labels = shifted
        elif labels is not None and predicts_next(self.accelerator.unwrap_model(self.model)):
            labels = F.pad(labels, (0, 1), value=IGNORED_LABEL)[..., 1:]
        outputs = model(**inputs)
        s = logits_in(WHERE, "model", outputs)
        j = options.checkpoint(min(self.state.global_step, options.steps - 1), len(self.path))
        t = self._teacher(j, inputs, ids, s.device)
        agree = (s.detach().argmax(-1) == t.argmax(-1)).double().mean()
        rows = s.new_ones(s.shape[:-1], dtype=torch.bool) if labels is None else labels != IGNORED_LABEL
        loss = distill_loss(
            s[rows], t[rows], None if labels is None else labels[rows], tau=options.tau, alpha=options.alpha,
            loss=options.loss,
        )  # fmt: skip
        check_loss(WHERE, float(loss), self.state.global_step, j)
        self.history.append(
            {"step": self.state.global_step, "loss": float(loss), "checkpoint": j, "fidelity": float(agree)}
        )
        count: Any = rows.sum().clamp(min=1)
        if num_items_in_batch is not None:
            processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            count = torch.as_tensor(num_items_in_batch, device=loss.device) / processes
        loss = loss / count
        return (loss, outputs) if return_outputs else loss

    def _teacher(self, j: int, inputs: dict[str, Any], ids: Tensor | None, device: torch.device) -> Tensor:
        if self.path.stored:
            return self.path.recorded(WHERE, j, inputs, ids).to(device)
        teacher = self.path.module(j, device)
        with evaluating(teacher), self.accelerator.autocast():
            return logits_in(WHERE, "teacher", teacher(**inputs))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "ids" not in self._signature_columns:  # else they'd be taken out of the data set
            self._signature_columns.append("ids")
