"""The trace of the Fisher information along a training."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.capture.heap import give_back_memory
from infotorch.errors import ConfigError, NumericsError, check_whole
from infotorch.measures.fisher_trace import fisher_trace
from infotorch.measures.measure import each_batch
from infotorch.task import Task
from infotorch.task.classes import all_missed, missed_by
from infotorch.train import rng
from infotorch.train.evaluation import evaluating

__all__ = ["FisherTrace"]

WHERE = "FisherTrace"


class FisherTrace:
    r"""Records tr F of a network while it is trained, with what tells learning from saturation.

    The trace rises while features form and then falls (Achille, Rovere and Soatto, "Critical learning periods in deep
    neural networks", arXiv 1711.08856). It also falls where logits grow and probabilities saturate. So beside it stand
    the loss, the accuracy, and the trace of the network whose outputs are divided by their norm, sample by sample, that
    norm held constant: growing logits leave it as it is.

    Call it with the number of steps done, at every step, from 0 on; it counts every ``every``-th. The network is put in
    eval mode meanwhile, and back into the modes it was in; random generators, the loader's too, are as before.

    Args:
        task: The network that is trained, with its loss and the parameters in question.
        data: (x, y) or a dict; or a DataLoader of them, read in each record.
        every: Steps from one record to the next.
        per_layer: Also record the traces of every module.
        labels: As for :func:`infotorch.fisher_trace`; ``("mc", 1, seed)`` takes one backward for any number of classes.

    Raises:
        ConfigError: ``every`` is below 1.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> trace = FisherTrace(Task(model, loss="mse"), (torch.eye(2), torch.zeros(2, 1)), every=10)
        >>> for step in range(21):
        ...     trace(step)  # in a training, after each optimizer step
        >>> [(row["step"], row["fisher_trace"]) for row in trace.rows]
        [(0, 2.0), (10, 2.0), (20, 2.0)]
    """

    def __init__(self, task: Task, data: Any, *, every: int, per_layer: bool = True, labels: Any = "exact") -> None:
        check_whole(WHERE, "every", every, 1)
        if not isinstance(task, Task):
            raise ConfigError(f"{WHERE}: task must be a Task; got {type(task).__name__}. Pass Task(model, loss=...).")
        self.task, self.data, self.every, self.per_layer, self.labels = task, data, every, per_layer, labels
        self.rows: list[dict[str, Any]] = []
        """A record each: ``step``; ``fisher_trace`` and ``loss``, summed over samples; ``accuracy`` in [0, 1], None
        where labels are no classes; ``unit_fisher_trace``, of outputs of unit norm; and with ``per_layer``
        ``per_layer``, traces by module path."""

    def __call__(self, step: int) -> None:
        """Add a record, if the step is one of those to count and has none yet."""
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ConfigError(f"{WHERE}: step must be a whole number of at least 0; got {step!r}. Pass the steps done.")
        if step % self.every or (self.rows and self.rows[-1]["step"] == step):
            return
        with evaluating(self.task.model), rng.unchanged(self.data):
            loss, accuracy = _fit(self.task, self.data)
            if not math.isfinite(loss):  # a squared error's Fisher matrix may be finite beside it
                raise NumericsError(
                    f"{WHERE}: the loss must be finite; got {loss:g} at step {step}. Look at the weights: the training "
                    "has diverged, or the data are not finite."
                )
            found = fisher_trace(self.task, self.data, labels=self.labels, per_layer=self.per_layer)
            unit = fisher_trace(_unit_outputs(self.task), self.data, labels=self.labels, per_layer=False)
        give_back_memory()  # beside a training's own tensors the process would grow by MiB a record
        row = {
            "step": step,
            "fisher_trace": found.total,
            "loss": loss,
            "accuracy": accuracy,
            "unit_fisher_trace": unit.total,
        }
        self.rows.append(row | ({"per_layer": found.per_layer} if self.per_layer else {}))


def _unit_outputs(task: Task) -> Task:
    """The same task with every sample's outputs over their norm."""

    def forward(model: nn.Module, x: Any) -> Tensor:
        outputs = model(x) if task.forward is None else task.forward(model, x)
        outputs = outputs[:, None] if outputs.dim() == 1 else outputs
        norms = outputs.detach().norm(dim=-1, keepdim=True)
        return outputs / norms.where(norms > 0, torch.ones_like(norms))

    return Task(task.model, loss=task.loss, params=task.params, forward=forward, target=task.target)


def _fit(task: Task, data: Any) -> tuple[float, float | None]:
    """The summed loss, and the share of labels that are predicted."""
    loss, missed = 0.0, []
    for batch in each_batch(WHERE, task, data):
        x, y = task.split(batch)
        outputs = task.outputs(x)
        loss += float(task.losses(outputs, y).double().sum())
        missed.append(missed_by(task, outputs, y))
    wrong = all_missed(missed)
    return loss, None if wrong is None else float((1 - wrong).mean())
