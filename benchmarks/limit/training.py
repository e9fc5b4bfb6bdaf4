"""One training by one method, and all that is told of it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.limit.noisy_data import C, NoisyData
from infotorch.measures import label_info_lower, memorised_counts
from infotorch.train import LimitTrainer, losses
from infotorch.train.evaluation import accuracy, evaluating

BATCH, LR = 128, 1e-3
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": F.cross_entropy,
    "gce": losses.gce,
    "mae": losses.mae,
}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """LIMIT's options; whatever else is the trainer's default."""

    q: Literal["gaussian", "laplace"]
    beta: float

    def __str__(self) -> str:
        return f"limit_{self.q[0]} beta {self.beta:g}"


Method = str | Limit
"""A name of ``LOSSES``, or LIMIT."""


class Shuffled:
    """Batches (x, y, ids), the last one short, in an order that is drawn anew in each iteration."""

    def __init__(self, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
        self.dataset = torch.utils.data.TensorDataset(x, y)
        self.generator = generator

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for ids in torch.randperm(len(self.dataset), generator=self.generator).split(BATCH):
            yield *self.dataset[ids], ids


def in_order(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    return [(x[ids], y[ids], ids) for ids in torch.arange(len(x)).split(1000)]


def networks(build: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, nn.Module]:
    """The classifier, and the auxiliary network, initialised after it."""
    torch.manual_seed(seed)
    return build(), build()


def trained(
    method: Method, data: NoisyData, build: Callable[[], nn.Module], *, seed: int, epochs: int, noise: float
) -> dict[str, Any]:
    """Trains, and measures what the last epoch left.

    Returns:
        Per cent: ``test_at_best_val`` (the first epoch of the highest accuracy on noisy validation labels),
        ``test_last``, ``recovered`` (of the wrong labels), ``fitted`` (of the noisy labels). ``memorised`` of
        ``mislabelled`` labels. ``auroc_distance`` of the auxiliary network, ``None`` without one, and ``auroc_ce`` of
        the classifier's cross-entropy, for finding the wrong labels. ``label_nats``, at least, a label.
        ``seconds`` and ``cpu_seconds`` an epoch, the evaluation of each epoch included. ``val`` and ``test`` of all
        epochs.
    """
    classifier, aux = networks(build, seed)
    train = Shuffled(data.x, data.given, torch.Generator().manual_seed(seed + 7))
    val, test = in_order(data.x_val, data.given_val), in_order(data.x_test, data.y_test)
    start, cpu = time.perf_counter(), time.process_time()
    distance = None
    if isinstance(method, Limit):
        trainer = LimitTrainer(
            classifier, aux, q=method.q, beta=method.beta, lr=LR, epochs=epochs, reduction="reference"
        )
        result = trainer.fit(
            train, val, num_classes=C, true_labels=data.true, eval_loader=in_order(data.x, data.given),
            test_loader=test, progress=False,
        )  # fmt: skip
        history = [(entry["val_acc"], entry["test_acc"]) for entry in result.history]
        distance = result.scores["limit_distance"].values
    else:
        history = _plain(classifier, LOSSES[method], train, epochs, val, test)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    with evaluating(classifier):
        logits = classifier(data.x)
    counts = memorised_counts(logits.argmax(1), data.given, data.true)
    wrong = data.wrong.numpy()
    best = max(range(epochs), key=lambda epoch: history[epoch][0])  # the first of equals
    return {
        "test_at_best_val": 100 * history[best][1],
        "test_last": 100 * history[-1][1],
        "memorised": counts.memorised_count,
        "mislabelled": counts.mislabelled,
        "recovered": 100 * counts.recovered / counts.mislabelled,
        "fitted": 100 * counts.acc_noisy_labels,
        "auroc_distance": None if distance is None else float(roc_auc_score(wrong, distance)),
        "auroc_ce": float(roc_auc_score(wrong, F.cross_entropy(logits, data.given, reduction="none"))),
        "label_nats": label_info_lower(1 - counts.acc_noisy_labels, label_entropy(noise), C),
        "seconds": seconds / epochs,
        "cpu_seconds": cpu / epochs,
        "val": [value for value, _ in history],
        "test": [value for _, value in history],
    }


def label_entropy(noise: float) -> float:
    """H(y|x) of labels that are wrong with probability ``noise``, and then any other class alike; nats."""
    p = torch.tensor([1 - noise, *[noise / (C - 1)] * (C - 1)], dtype=torch.float64)
    return float(torch.special.entr(p).sum())


def _plain(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    train: Shuffled,
    epochs: int,
    val: list[tuple[Tensor, ...]],
    test: list[tuple[Tensor, ...]],
) -> list[tuple[float, float]]:
    """The loop that everybody writes; accuracies on validation and test labels, an epoch."""
    optimizer = torch.optim.Adam(network.parameters(), LR)
    history = []
    for _ in range(epochs):
        network.train()
        for x, y, _ids in train:
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()
        history.append(tuple(accuracy("benchmarks.limit", network, loader).value for loader in (val, test)))
    return history
