"""Trains a student on the predictions of a teacher, as it is or as it was along its training."""

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from infotorch.errors import ConfigError, DivergenceError, ShapeError
from infotorch.store.files import locked_file
from infotorch.train import checkpoint as checkpoints
from infotorch.train import rng
from infotorch.train.batch import Batch, batch_of
from infotorch.train.distillation.cycle import Cycle
from infotorch.train.distillation.loss import DistillLoss, check_loss, distill_loss
from infotorch.train.distillation.options import DistillOptions, Match, Mode, as_path, check_student
from infotorch.train.distillation.recording import logits_of
from infotorch.train.distillation.result import Callback, DistillResult, Moment
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.evaluation import device_of, modes_kept
from infotorch.train.options import autocast
from infotorch.train.ranks import gathered, rank, total, unsynced, unwrapped, world_size
from infotorch.train.state import copied_state, refused_on_all, write_once

__all__ = ["distill"]

WHERE = "distill"
FORM = "infotorch distill 1"
KEYS = ("format", "config", "student", "optimizer", "scaler", "step", "skipped", "epoch", "position", "epoch_rng",
        "rng", "history", "callbacks")  # fmt: skip


def distill(
    student: nn.Module,
    data: Iterable[Any],
    optimizer: Optimizer,
    *,
    teacher: TeacherPath | nn.Module,
    mode: Mode = "online",
    tau: float = 1.0,
    alpha: float = 1.0,
    loss: DistillLoss = "ce",
    match: Match = "ahead",
    steps: int,
    callbacks: Sequence[Callback] = (),
    amp: Literal["bf16", "fp16"] | None = None,
    grad_accum: int = 1,
    clip_norm: float | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
) -> DistillResult:
    r"""Trains ``student`` in place on a teacher's predictions, ``distill_loss`` summed over each batch.

    ``"online"``: the student learns from the teacher as it was at the same share of its training (Harutyunyan, Rawat,
    Menon, Kim, Kumar, arXiv 2301.12245). Step k of S takes checkpoint
    :math:`j(k) = \min(\lfloor k L / S \rfloor + 1, L)`, L the last one, in integers; ``match="behind"`` drops the +1
    and begins at T_0. ``"offline"``: it learns from the last checkpoint throughout.

    The teacher is in eval mode and without gradients; modes are put back, and its weights stay to the bit. The student
    trains in training mode. Learning rates are for a sum over the batch: a mean is the same with the rate divided by
    the batch size, or with Adam.

    With several processes wrap the student in DistributedDataParallel; the sum is over the batches of all ranks.

    Args:
        student: Takes a batch's inputs, returns logits [..., C].
        data: Batches (inputs, labels), (inputs, labels, ids) or dicts with these keys, anew in each iteration; cycled.
            Stored logits need ids, the samples' places in what was recorded, and refuse augmented inputs.
        optimizer: Of the student's parameters.
        teacher: A path of checkpoints, or one module, whose only checkpoint is then the last.
        mode: As above.
        tau: As of ``distill_loss``, like the next two.
        alpha: See there.
        loss: See there.
        match: As above.
        steps: Optimizer steps in all.
        callbacks: Called with a ``Moment`` before the first step and after each one, as ``SupervisionTrace``.
        amp: Forward passes under autocast in ``"bf16"``, or in ``"fp16"`` with a gradient scaler.
        grad_accum: Parts into which each batch is split; the step is the same but for BatchNorm.
        clip_norm: Largest norm of the gradient.
        checkpoint: File that is written after the last step, by one process at a time; an empty file with the further
            ending ``.lock`` stays beside it. Where it is there, training goes on from it, on one kind
            of machine with the bits of one that wasn't broken off. Another teacher is refused; other data are not
            known from here: pass the same.
        checkpoint_every: Steps after which ``checkpoint`` is written besides.

    Raises:
        ConfigError: An option is unknown, out of range or another than that of the checkpoint; student and teacher
            share a parameter; the optimizer is another network's.
        DataError: ``data`` is empty, or a batch has another form, lacks ids or labels, or has other inputs than were
            recorded.
        DivergenceError: The loss or a gradient isn't finite; the text names the step; the student is as before it.
        NumericsError: A weight of the teacher's file isn't finite.
        ShapeError: Student and teacher have other classes.
        StoreError: A file of the teacher has changed or is missing; the checkpoint belongs to other networks, can't be
            read or written, or another process writes it.

    Example:
        >>> student, teacher = nn.Linear(5, 3), nn.Linear(5, 3)
        >>> data = [(torch.randn(8, 5), torch.randint(3, (8,)))]
        >>> result = distill(student, data, torch.optim.SGD(student.parameters(), 0.01), teacher=teacher, steps=2)
        >>> [entry["checkpoint"] for entry in result.history]
        [0, 0]
    """
    options = DistillOptions(
        mode=mode, tau=tau, alpha=alpha, loss=loss, match=match, steps=steps, amp=amp, grad_accum=grad_accum,
        clip_norm=clip_norm,
    )  # fmt: skip
    if checkpoint_every is not None and (checkpoint is None or checkpoint_every < 1):
        raise ConfigError(
            f"{WHERE}: checkpoint_every, at least 1, goes with checkpoint; got {checkpoint_every} and {checkpoint}. "
            "Give both."
        )
    path = as_path(WHERE, teacher)
    check_student(WHERE, student, optimizer, path)
    run = _Run(student, data, optimizer, path, options, callbacks)
    file = None if checkpoint is None else Path(checkpoint)
    if file is not None and file.is_dir():
        raise ConfigError(f"{WHERE}: checkpoint must be a file; got the folder {file}. Pass a path in it.")
    with ExitStack() as stack:
        if file is not None:
            refused_on_all(lambda: stack.enter_context(locked_file(file)))
            run.teacher = path.digest()
            if file.exists():
                run.load(file)
        stack.enter_context(modes_kept(student))
        student.train()
        run.train(file, checkpoint_every)
    return DistillResult(history=run.history, skipped=run.skipped)


class _Run:
    """A distillation that goes on."""

    def __init__(
        self,
        student: nn.Module,
        data: Iterable[Any],
        optimizer: Optimizer,
        path: TeacherPath,
        options: DistillOptions,
        callbacks: Sequence[Callback],
    ) -> None:
        self.student, self.optimizer, self.path, self.options = student, optimizer, path, options
        self.callbacks = list(callbacks)
        self.device = device_of(student)
        self.cycle = Cycle(WHERE, data)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.amp == "fp16")
        self.history: list[dict[str, Any]] = []
        self.step = self.skipped = 0
        self.teacher = ""
        """The digest of the teacher, where there are checkpoints of the student to tell it by."""
        self._checked = False

    def train(self, file: Path | None, every: int | None) -> None:
        """From where it stands to the last step."""
        if not self.step:
            self._call()
        batches = iter(self.cycle)
        saved = self.step if self.step else None
        while self.step < self.options.steps:
            self._step(batch_of(WHERE, next(batches)))
            self._call()
            if file is not None and every is not None and self.step % every == 0:
                self.save(file)
                saved = self.step
        if file is not None and saved != self.step:
            self.save(file)

    def _step(self, batch: Batch) -> None:
        options, j = self.options, self.options.checkpoint(self.step, len(self.path))
        self._check(batch)
        before = rng.device_states(self.device)
        buffers = [(b, b.clone()) for b in self.student.buffers()]
        self.optimizer.zero_grad()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, agreeing rows, rows
        parts, done = batch.parts(options.grad_accum), False
        try:
            for part in parts:
                with unsynced([self.student], part is not parts[-1]):
                    *counts, part_loss = self._loss(part, j)
                    # Ranks' gradients are averaged, so that each rank's sum is multiplied by their number.
                    self.scaler.scale(part_loss * world_size()).backward()
                sums += torch.stack([part_loss.detach().double(), *counts])
            value, agree, rows = total(sums.tolist(), self.device)
            check_loss(WHERE, value, self.step, j)
            self._move(j)
            done = True
        finally:
            if not done:  # whatever was raised, the student is as before
                with torch.no_grad():
                    for buffer, old in buffers:
                        buffer.copy_(old)
                rng.restore_device(self.device, before)
                self.student.zero_grad(set_to_none=True)
        self.history.append(
            {"step": self.step, "loss": value, "checkpoint": j, "fidelity": agree / rows if rows else math.nan}
        )
        self.step += 1

    def _loss(self, part: Batch, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of a part in which both name the same class, rows, float64, and the summed loss."""
        options = self.options
        with autocast(options.amp, self.device):
            t = self.path.predicted(WHERE, j, part, self.device)
            here = part.to(self.device)
            s = logits_of(WHERE, "student", self.student, here.inputs)
        labels = here.labels if options.alpha < 1 else None
        value = distill_loss(s, t, labels, tau=options.tau, alpha=options.alpha, loss=options.loss)
        agree = s.detach().argmax(-1) == t.argmax(-1)
        return (
            agree.sum(dtype=torch.float64),
            torch.tensor(agree.numel(), dtype=torch.float64, device=self.device),
            value,
        )

    def _check(self, batch: Batch) -> None:
        """Raises, before the first step, where a checkpoint has other classes than another."""
        if self._checked:
            return
        self._checked = True
        one = batch.rows(slice(0, 1))
        if self.path.modules is None:
            return
        sizes = [self.path.predicted(WHERE, j, one, self.device).shape[-1] for j in range(len(self.path))]
        if len(set(sizes)) > 1:
            raise ShapeError(
                f"{WHERE}: all checkpoints of the teacher must have the same classes; got {sizes}. Take one teacher."
            )

    def _move(self, j: int) -> None:
        """Steps the student, if its gradient is finite.

        Raises:
            DivergenceError: It isn't, and no scale made it overflow.
        """
        self.scaler.unscale_(self.optimizer)
        params = [p for p in self.student.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm([p.grad for p in params if p.grad is not None]))
        if not math.isfinite(norm) and self.scaler.get_scale() <= 1:
            raise DivergenceError(
                f"{WHERE}: the gradient must be finite; got norm {norm} in step {self.step}, from checkpoint {j}. "
                "Lower the learning rate.",
                step=self.step, where="gradient", value=norm,
            )  # fmt: skip
        if self.options.clip_norm is not None and math.isfinite(norm):
            nn.utils.clip_grads_with_norm_(params, self.options.clip_norm, torch.tensor(norm, dtype=torch.float64))
        self.skipped += not math.isfinite(norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _call(self) -> None:
        if not self.callbacks:
            return
        j = self.options.checkpoint(min(self.step, self.options.steps - 1), len(self.path))

        def teacher(inputs: Any) -> Tensor:
            if self.path.stored:
                raise ConfigError(
                    f"{WHERE}: a callback that runs the teacher needs its weights; got stored logits. "
                    "Record what='weights'."
                )
            return self.path.predicted(WHERE, j, Batch(inputs=inputs, labels=torch.zeros(0), ids=None), self.device)

        moment = Moment(
            step=self.step, options=self.options, student=unwrapped(self.student), checkpoint=j, teacher=teacher,
            entry=self.history[-1] if self.history else None,
        )  # fmt: skip
        for callback in self.callbacks:
            callback(moment)

    def _config(self) -> dict[str, Any]:
        return {
            **self.options.config(), "checkpoints": len(self.path), "teacher": self.teacher,
            "world_size": world_size(),
        }  # fmt: skip

    def save(self, file: Path) -> None:
        """Writes all that the rest follows from."""
        write_once(
            file,
            {
                "format": FORM,
                "config": self._config(),
                "student": copied_state(self.student),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "skipped": self.skipped,
                "epoch": self.cycle.epoch,
                "position": self.cycle.position,
                "epoch_rng": gathered(self.cycle.epoch_rng),
                "rng": gathered(rng.states(self.cycle.data)),
                "history": [dict(entry) for entry in self.history],
                "callbacks": [each.state_dict() if hasattr(each, "state_dict") else None for each in self.callbacks],
            },
        )

    def load(self, file: Path) -> None:
        """Goes on from ``file``; checks all before it changes anything."""
        state = checkpoints.read(file, where=WHERE, form=FORM, keys=KEYS)
        checkpoints.check_config(
            state["config"], self._config(), None, where=WHERE, remedy=f"Pass it, or delete {file}"
        )
        checkpoints.check_tensors("student", state["student"], copied_state(self.student), where=WHERE)
        checkpoints.check_optimizer_state(WHERE, "optimizer", self.optimizer, state["optimizer"])
        if len(state["callbacks"]) != len(self.callbacks):
            raise ConfigError(
                f"{WHERE}: callbacks must be those of the checkpoint, {len(state['callbacks'])}; got "
                f"{len(self.callbacks)}. Pass the same ones."
            )
        unwrapped(self.student).load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.skipped = state["step"], state["skipped"]
        self.history = [dict(entry) for entry in state["history"]]
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=True):
            if saved is not None and hasattr(callback, "load_state_dict"):
                callback.load_state_dict(saved)
        now = state["rng"][rank()]
        rng.restore(now, self.cycle.data)
        self.cycle.resume(state["epoch"], state["position"], state["epoch_rng"][rank()], now)
