"""What a network still shows of samples that it was to forget."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.weights import Weights, check_task, own_weights, with_weights
from infotorch.edit.passes import check_disjoint, parts_of
from infotorch.errors import ConfigError, check_number
from infotorch.measures.detection import detection
from infotorch.table import Kind
from infotorch.task import Task
from infotorch.task.classes import all_missed, missed_by

__all__ = ["Readouts", "readouts"]

WHERE = "readouts"


@dataclass(frozen=True, kw_only=True)
class Readouts:
    """Diagnostics: what these attackers see, not what another could. ``None`` where a readout has no meaning."""

    forget_error: float | None
    """Share of labels missed on the samples to forget, soft ones by their likeliest class; None without classes."""
    retain_error: float | None
    """The same on the retained samples."""
    test_error: float | None
    """The same on the test samples."""
    forget_loss: float
    """Mean loss of the samples to forget, in nats for cross-entropy."""
    retain_loss: float
    """Mean loss of the retained samples."""
    test_loss: float | None
    """Mean loss of the test samples."""
    membership_auc: float | None
    """Chance that a sample to forget has a lower loss than a test sample, ties counting half: 0.5 tells nothing."""
    relearn_steps: float | None
    """Steps of training on the samples to forget until their mean loss is at most ``relearn_to``; inf: not reached."""

    @property
    def kind(self) -> Kind:
        """``diagnostic``: what these attackers see; another may see more."""
        return "diagnostic"


def readouts(
    task: Task,
    weights: Weights | None = None,
    *,
    retain: Any,
    forget: Any,
    test: Any = None,
    relearn_to: float | None = None,
    relearn_lr: float = 1e-3,
    relearn_limit: int = 1000,
) -> Readouts:
    """Error and loss on forgotten, retained and test samples, membership attack, and time to relearn.

    Golatkar, Achille and Soatto (arXiv:1911.04933), section 6. A network that never saw the samples is the measure of
    all of them: forgetting is to look like that one, not to be as wrong as possible. The attack is by a threshold on
    the loss: Yeom et al., "Privacy risk in machine learning" (arXiv:1709.01604), section 3. Relearning takes Adam steps
    on all samples to forget at once, on a copy.

    Args:
        task: Model, loss and parameters; the model is left as it is.
        weights: In place of the task's own: [P], a state dict or a module.
        retain: (x, y), a dict, or a loader.
        forget: The same, of which the weights shall know nothing.
        test: Samples never trained on, of the kind of ``forget``; without them there is no membership attack.
        relearn_to: Mean loss to relearn to, such as that before scrubbing; default: not relearned.
        relearn_lr: Learning rate of it.
        relearn_limit: Steps at most.

    Raises:
        ConfigError: An option is out of range.
        DataError: A set is empty, or retain and forget share a sample.
        NumericsError: A weight is not finite.

    Example:
        >>> task = Task(torch.nn.Linear(1, 2).eval())
        >>> kept, gone = (torch.ones(2, 1), torch.tensor([0, 1])), (torch.zeros(1, 1), torch.tensor([1]))
        >>> readouts(task, torch.tensor([0.0, 0.0, 1.0, 0.0]), retain=kept, forget=gone).forget_error
        1.0
    """
    check_task(WHERE, task)
    if relearn_to is not None:
        todo = "Pass a number."
        relearn_to = check_number(WHERE, "relearn_to", relearn_to, todo)
        relearn_lr = check_number(WHERE, "relearn_lr", relearn_lr, todo)
        if not isinstance(relearn_limit, int) or isinstance(relearn_limit, bool):
            raise ConfigError(
                f"{WHERE}: relearn_limit must be a whole number; got {type(relearn_limit).__name__}. Pass how many "
                "steps."
            )
    if relearn_to is not None and not (math.isfinite(relearn_to) and 0 < relearn_lr < math.inf and relearn_limit >= 1):
        raise ConfigError(
            f"{WHERE}: relearn_to must be finite, relearn_lr above 0 and relearn_limit at least 1; got {relearn_to}, "
            f"{relearn_lr} and {relearn_limit}. Pass the loss before scrubbing as relearn_to."
        )
    check_disjoint(WHERE, task, retain, forget)
    at = with_weights(task, own_weights(WHERE, task) if weights is None else weights)
    losses_f, wrong_f = _seen(at, forget)
    losses_r, wrong_r = _seen(at, retain)
    losses_t, wrong_t = (None, None) if test is None else _seen(at, test)
    auc = None
    if losses_t is not None:
        both = torch.cat([-losses_f, -losses_t])
        auc = detection(both, torch.arange(len(both)) < len(losses_f)).auroc
    return Readouts(
        forget_error=_mean(wrong_f),
        retain_error=_mean(wrong_r),
        test_error=_mean(wrong_t),
        forget_loss=float(losses_f.mean()),
        retain_loss=float(losses_r.mean()),
        test_loss=_mean(losses_t),
        membership_auc=auc,
        relearn_steps=None if relearn_to is None else _relearned(at, forget, relearn_to, relearn_lr, relearn_limit),
    )


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


@torch.no_grad()
def _seen(task: Task, data: Any) -> tuple[Tensor, Tensor | None]:
    """Losses of the samples [N], and which labels are missed, float64 on the CPU."""
    losses, wrong = [], []
    for batch in parts_of(WHERE, task, data):
        x, y = task.split(batch)
        outputs = task.outputs(x)
        losses.append(task.losses(outputs, y).double().cpu())
        wrong.append(missed_by(task, outputs, y))
    return torch.cat(losses), all_missed(wrong)


def _relearned(task: Task, data: Any, loss_to: float, lr: float, limit: int) -> float:
    moved = with_weights(task, task.parameters())
    optimizer = torch.optim.Adam(moved.parameters().values(), lr=lr)
    for step in range(limit + 1):
        optimizer.zero_grad()
        total, N = 0.0, 0
        for batch in parts_of(WHERE, moved, data):
            x, y = moved.split(batch)
            loss = moved.losses(moved.outputs(x), y).sum()
            loss.backward()
            total, N = total + float(loss.detach().double()), N + len(y)
        if total / N <= loss_to:
            return float(step)
        for parameter in moved.parameters().values():
            if parameter.grad is not None:
                parameter.grad /= N
        optimizer.step()
    return math.inf
