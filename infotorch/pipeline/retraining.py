"""A network trained from its start on some samples, and its accuracy on others."""

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.data import samples_of
from infotorch.errors import ConfigError, DataError, DivergenceError, NotSupported, check_choice
from infotorch.pipeline.selection import classes_of
from infotorch.task import Task
from infotorch.train import rng
from infotorch.train.evaluation import evaluating

__all__ = ["OPTIMIZERS", "Optimizer", "check_training", "retrain_accuracy"]

WHERE = "retrain_accuracy"
Optimizer = Literal["adam", "sgd"]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def retrain_accuracy(
    start: Task | Callable[[], Task],
    train: Any,
    test: Any,
    *,
    epochs: int,
    lr: float = 1e-3,
    batch_size: int | None = None,
    optimizer: Optimizer = "adam",
    seed: int = 0,
) -> float:
    """Share of test labels that the task's network predicts after training on ``train``.

    The task's selected parameters are trained on the mean of the task's loss, in train mode, without weight decay or
    schedule. Under ``loss="mse"`` class labels become the targets that unique information has: one-hot, or 0 and 1.
    The class predicted is that of the largest output; of a single output it is 1 above 0.5 under ``"mse"``, and above 0
    under ``"binary_cross_entropy"``.

    Args:
        start: The task at the weights where training starts, or a function that makes one, called after ``seed`` is
            set: initial weights are drawn anew. The model is copied, never changed.
        train: Whatever ``infotorch.data.samples_of`` takes.
        test: The same, with class labels.
        epochs: Passes over the training samples.
        lr: Learning rate.
        batch_size: Samples in one step, about: batches are of equal size. Default all of them.
        optimizer: ``"adam"`` or ``"sgd"``, without momentum.
        seed: Of initial weights, order of samples and random layers. The caller's generators are left as they were.

    Returns:
        Accuracy in [0, 1].

    Raises:
        ConfigError: An option is out of range.
        DataError: Test labels are no classes, or what ``Task.split`` refuses.
        NotSupported: Outputs that say no class.
        DivergenceError: The loss is not finite.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1), loss="binary_cross_entropy")
        >>> x, y = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1.0, 0.0])
        >>> retrain_accuracy(task, (x, y), (x, y), epochs=100, lr=0.1)
        1.0
    """
    check_training(epochs, lr, batch_size, optimizer)
    samples, tests = samples_of(train), samples_of(test)
    wanted = classes_of(tests.y)
    if wanted is None:
        raise DataError(
            f"{WHERE}: test labels must be classes, whole numbers [M]; got {tests.y.dtype} {list(tests.y.shape)}. "
            "Give test samples with the number of their class."
        )
    with rng.seeded(seed):
        given = start if isinstance(start, Task) else start()
        task = dataclasses.replace(given, model=copy.deepcopy(given.model))
        _train(task, samples.all_inputs(WHERE), samples.y, epochs, lr, batch_size, optimizer)
        with evaluating(task.model):
            size = len(tests) if batch_size is None else batch_size
            found = [_predicted(task, task.outputs(x)) for x in tests.all_inputs(WHERE).split(size)]
    return float((torch.cat(found).cpu() == torch.from_numpy(wanted)).double().mean())


def check_training(epochs: int, lr: float, batch_size: int | None, optimizer: str) -> None:
    """Refuses options of a training that are out of range: ``ConfigError``."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{WHERE}: {name} must be at least 1; got {value}. Choose a positive number.")
    if not (lr > 0 and math.isfinite(lr)):
        raise ConfigError(f"{WHERE}: lr must be a finite number above 0; got {lr}. Correct lr.")
    check_choice(WHERE, "optimizer", optimizer, OPTIMIZERS)


@torch.enable_grad()
def _train(
    task: Task, x: Tensor, y: Tensor, epochs: int, lr: float, batch_size: int | None, optimizer: Optimizer
) -> None:
    """Trains the task's parameters in place."""
    task.split((x, y))
    task.model.eval()
    with torch.no_grad():
        C = task.outputs(x[:1])[0].numel()
    if task.loss == "mse" and not y.is_floating_point():
        y = task.residual_targets(y, C).to(next(iter(task.parameters().values())).dtype)
    chosen = task.parameters().values()
    step = OPTIMIZERS[optimizer](chosen, lr=lr)
    num_batches = 1 if batch_size is None else -(-len(x) // batch_size)
    task.model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x)).to(x.device)
        for rows in order.tensor_split(num_batches):  # of equal size: BatchNorm refuses a single sample left over
            outputs = task.model(x[rows]) if task.forward is None else task.forward(task.model, x[rows])
            loss = task.losses(outputs[:, None] if outputs.dim() == 1 else outputs, y[rows]).mean()
            if not loss.isfinite():
                raise DivergenceError(
                    f"{WHERE}: the loss must be finite; got {loss.item()} in epoch {epoch}. Lower lr.",
                    where="loss", value=loss.item(),
                )  # fmt: skip
            step.zero_grad()
            loss.backward()
            step.step()


def _predicted(task: Task, outputs: Tensor) -> Tensor:
    """The class that each row of outputs [M, C] says, int64 [M]."""
    if outputs.dim() == 2 and outputs.shape[1] > 1:
        return outputs.argmax(1)
    threshold = {"mse": 0.5, "binary_cross_entropy": 0.0}.get(task.loss if isinstance(task.loss, str) else "")
    if outputs.dim() != 2 or threshold is None:
        raise NotSupported(
            f"{WHERE}: outputs must be [M, C] with one number a class, or one number under the loss mse or "
            f"binary_cross_entropy; got {list(outputs.shape)}. Train and test it in a function of your own."
        )
    return (outputs[:, 0] > threshold).long()
