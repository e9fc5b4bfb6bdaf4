"""Training on the labels as they are: what LIMIT is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.errors import DivergenceError
from infotorch.measures.memorised import Memorised, memorised_counts
from infotorch.task.classes import given_classes, is_single, predicted_classes
from infotorch.train.batch import Loader, batch_of
from infotorch.train.evaluation import accuracy, device_of, evaluating, outputs
from infotorch.train.options import default_optimizer
from infotorch.train.progress import TrainingBar

__all__ = ["PlainResult", "cross_entropy", "train_plain"]

WHERE = "train_plain"


@dataclass(frozen=True, kw_only=True)
class PlainResult:
    """A finished training."""

    history: list[dict[str, Any]]
    """One entry an epoch: ``epoch``, ``loss`` (mean over labels), ``acc_train`` (on the given labels, in training
    mode), ``val_acc``, ``val_stderr`` and ``test_acc``, ``None`` without such data."""
    counts: Memorised
    """Predictions at the end against given and right labels."""
    losses: Tensor
    """Cross-entropy of each training sample at the end, nats, float64 [N], by id."""


def cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy, nats, of class logits or of single ones."""
    if is_single(logits, labels):
        return F.binary_cross_entropy_with_logits(logits.view_as(labels), labels.to(logits.dtype), reduction=reduction)
    return F.cross_entropy(logits, labels, reduction=reduction)


def train_plain(
    network: nn.Module,
    train_loader: Loader,
    val_loader: Loader | None = None,
    *,
    epochs: int,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    lr: float = 1e-3,
    clip_norm: float | None = None,
    true_labels: Any = None,
    eval_loader: Loader | None = None,
    test_loader: Loader | None = None,
    progress: bool | None = None,
) -> PlainResult:
    """Trains ``network`` in place by Adam on ``loss`` of the labels given, cross-entropy or one of ``train.losses``.

    Args:
        network: Takes a batch's inputs, returns logits.
        train_loader: Batches (inputs, labels, ids), ids from 0 to N - 1.
        val_loader: Samples to measure accuracy on.
        epochs: How many.
        loss: ``fn(logits, labels)``, a mean.
        lr: Learning rate.
        clip_norm: Largest norm of the gradient.
        true_labels: Right labels, indexed by id, for the counts.
        eval_loader: The training samples without augmentation; default ``train_loader``.
        test_loader: Samples with right labels.
        progress: As of ``LimitTrainer.fit``.

    Raises:
        DivergenceError: The loss is not finite.
    """
    device = device_of(network)
    optimizer = default_optimizer(network, lr)
    history: list[dict[str, Any]] = []
    network.train()
    with TrainingBar(epochs, progress, name="plain") as bar:
        for epoch in range(epochs):
            sums, right, count = 0.0, 0, 0
            for done, item in enumerate(train_loader, 1):
                batch = batch_of(WHERE, item).to(device)
                logits = network(batch.inputs)
                value = loss(logits, batch.labels)
                if not value.isfinite():
                    raise DivergenceError(
                        f"{WHERE}: the loss must be finite; got {value.item()} in epoch {epoch}. Lower lr.",
                        step=epoch * len(train_loader) + done - 1, where="loss", value=value.item(),
                    )  # fmt: skip
                optimizer.zero_grad()
                value.backward()
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
                optimizer.step()
                fits = predicted_classes(logits, batch.labels) == given_classes(logits, batch.labels)
                sums, right, count = sums + value.item() * len(batch), right + int(fits.sum()), count + len(batch)
                bar.step(epoch, done, len(train_loader), value.item())
            val, test = (
                None if loader is None else accuracy(WHERE, network, loader) for loader in (val_loader, test_loader)
            )
            entry = {
                "epoch": epoch,
                "loss": sums / max(count, 1),
                "acc_train": right / max(count, 1),
                "val_acc": None if val is None else val.value,
                "val_stderr": None if val is None else val.stderr,
                "test_acc": None if test is None else test.value,
            }
            history.append(entry)
            bar.epoch(entry)
    counts, losses = _on_training_samples(network, train_loader if eval_loader is None else eval_loader, true_labels)
    return PlainResult(history=history, counts=counts, losses=losses)


def _on_training_samples(network: nn.Module, loader: Loader, true_labels: Any) -> tuple[Memorised, Tensor]:
    predicted, given, ids, losses = [], [], [], []
    met = 0
    with evaluating(network):
        for batch, (logits,) in outputs(WHERE, loader, network):
            predicted.append(predicted_classes(logits, batch.labels).cpu())
            given.append(given_classes(logits, batch.labels).cpu())
            ids.append(torch.arange(met, met + len(batch)) if batch.ids is None else batch.ids)
            losses.append(cross_entropy(logits.double(), batch.labels, reduction="none").cpu())
            met += len(batch)
    places = torch.cat(ids)
    right = None if true_labels is None else np.asarray(true_labels)[places.numpy()]
    return memorised_counts(torch.cat(predicted), torch.cat(given), right), torch.cat(losses)[places.argsort()]
