"""The epochs of a training, and what is measured once they are over."""

import dataclasses
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.measures.label_bounds import label_info_lower
from infotorch.measures.memorised import Memorised, memorised_counts
from infotorch.table import Scores
from infotorch.task.classes import given_classes, labelled, predicted_classes
from infotorch.train import rng
from infotorch.train.batch import Loader, batch_of
from infotorch.train.evaluation import accuracy, evaluating, outputs
from infotorch.train.progress import TrainingBar
from infotorch.train.ranks import gathered, rank, real_rows, set_epoch, total
from infotorch.train.result import LimitInfo, LimitResult
from infotorch.train.scores import ScoreRows, label_scores, with_ema
from infotorch.train.state import networks_state

if TYPE_CHECKING:
    from infotorch.train.trainer import LimitTrainer

__all__ = ["fit"]

WHERE = "LimitTrainer.fit"


def fit(
    trainer: "LimitTrainer",
    train_loader: Loader,
    val_loader: Loader | None,
    *,
    num_classes: int | None,
    true_labels: Any,
    eval_loader: Loader | None,
    test_loader: Loader | None,
    checkpoint: Path | None,
    checkpoint_every: int | None,
    progress: bool | None,
) -> LimitResult:
    """``LimitTrainer.fit``."""
    options = trainer.options
    if options.patience is not None and val_loader is None:
        raise ConfigError(f"{WHERE}: patience needs val_loader; got none. Pass it, or leave patience out.")
    if checkpoint_every is not None and (checkpoint is None or checkpoint_every < 1):
        raise ConfigError(
            f"{WHERE}: checkpoint_every, at least 1, goes with checkpoint; got {checkpoint_every} and {checkpoint}. "
            "Give both."
        )
    for name, loader in (("train_loader", train_loader), ("val_loader", val_loader), ("test_loader", test_loader)):
        if loader is not None:
            _check_length(name, loader)
    if checkpoint is not None and checkpoint.exists() and not trainer.steps:
        raise StoreError(
            f"{WHERE}: checkpoint must be a new file, or one that was loaded; got {checkpoint}, which is there. "
            "Call load with it to go on, or delete it."
        )
    truth = None if true_labels is None else np.asarray(true_labels)
    needs_ids = options.scores is not None or truth is not None
    trainer.loader, trainer.num_classes = train_loader, num_classes
    data = getattr(train_loader, "dataset", None)
    trainer.n_train = len(data) if isinstance(data, Sized) else None
    for network in trainer.networks.values():
        network.train()
    with TrainingBar(options.epochs, progress if rank() == 0 else False, name="LIMIT") as bar:
        while trainer.epoch < options.epochs and not _stalled(trainer):
            for done, item in enumerate(_batches(trainer, train_loader), trainer.position + 1):
                if needs_ids:
                    _check_ids(item)
                told = trainer.step(item)
                trainer.position = done
                bar.step(trainer.epoch, done, len(train_loader), told["loss"])
                if checkpoint is not None and checkpoint_every is not None and trainer.steps % checkpoint_every == 0:
                    trainer.save(checkpoint)
            val, test = (
                None if loader is None else accuracy(WHERE, trainer.classifier, loader, autocast=trainer.autocast)
                for loader in (val_loader, test_loader)
            )
            bar.epoch(trainer.end_epoch(val=val, test=test))
            if checkpoint is not None:
                trainer.save(checkpoint)
    return _result(trainer, _whole(train_loader) if eval_loader is None else eval_loader, val_loader, truth)


def _whole(loader: Loader) -> Loader:
    """The loader, or one of the same data set without those that are dropped at an epoch's end."""
    if not isinstance(loader, DataLoader) or not loader.drop_last:
        return loader
    if not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        raise ConfigError(
            f"{WHERE}: train_loader must hold every sample, to measure on; got drop_last=True with a sampler. "
            "Pass eval_loader."
        )
    return DataLoader(loader.dataset, loader.batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers)


def _check_length(name: str, loader: Loader) -> None:
    try:
        length = len(loader)
    except TypeError as error:
        raise DataError(
            f"{WHERE}: {name} must have a length; got {error}. Pass a list, or a map-style data set."
        ) from error
    if not length:
        raise DataError(f"{WHERE}: {name} must hold at least one batch; got none. Check its split, or leave it out.")


def _check_ids(item: Any) -> None:
    if batch_of(WHERE, item).ids is None:
        raise DataError(
            f"{WHERE}: scores and true labels need the samples' ids; got batches without. Let the loader yield "
            "(inputs, labels, ids), or pass scores=None."
        )


def _stalled(trainer: "LimitTrainer") -> bool:
    """Whether no epoch of the classifier's was better for ``patience`` epochs."""
    patience, best = trainer.options.patience, trainer.best
    return patience is not None and best is not None and trainer.epoch - 1 - best["epoch"] >= patience


def _batches(trainer: "LimitTrainer", loader: Loader) -> Iterator[Any]:
    """This epoch's batches that are still to come.

    An epoch that was broken off is drawn again from its start, so that the order is its own; then the generators are
    set to where they were.
    """
    set_epoch(loader, trainer.epoch)
    trainer.rows_left = real_rows(loader)
    loaded = trainer.loaded_rng
    if not trainer.position or trainer.epoch_rng is None:
        if loaded is not None:
            rng.restore(loaded, loader)
        trainer.epoch_rng = rng.states(loader)
        yield from loader
        return
    now = rng.states(loader) if loaded is None else loaded
    rng.restore(trainer.epoch_rng, loader)
    batches = iter(loader)
    for _ in range(trainer.position):
        used = next(batches)
        if trainer.rows_left is not None:
            trainer.rows_left = max(0, trainer.rows_left - len(batch_of(WHERE, used)))
    rng.restore(now, loader)
    yield from batches


def _result(
    trainer: "LimitTrainer", loader: Loader, val_loader: Loader | None, truth: np.ndarray | None
) -> LimitResult:
    before = rng.states(trainer.loader)
    try:
        scores, counts, xent, labels = _on_training_samples(trainer, loader, truth)
        gap = None
        if val_loader is not None:
            held_out, held = _aux_xent(trainer, val_loader)
            gap = labels * (held_out / held - xent / labels)
    finally:
        rng.restore(before, trainer.loader)
    meter, last = trainer.meter, networks_state(trainer)
    lower = None
    if meter is not None and meter.label_entropy is not None:
        lower = label_info_lower(1 - counts.acc_noisy_labels, meter.label_entropy, meter.num_classes)
    best = last if trainer.options.select == "last" else None
    if trainer.options.select == "val_noisy" and trainer.best is not None:
        best = trainer.best["state"]
    info = LimitInfo(
        label=None if meter is None else meter.result(),
        aux_gap_nats=gap,
        info_lower_nats=lower,
        acc_test=trainer.history[-1]["test_acc"] if trainer.history else None,
        **vars(counts),
    )
    return LimitResult(best_state=best, last_state=last, history=list(trainer.history), scores=scores, info=info)


def _on_training_samples(
    trainer: "LimitTrainer", loader: Loader, truth: np.ndarray | None
) -> tuple[Scores | None, Memorised, float, float]:
    """Scores, memorised counts, and the auxiliary's summed cross-entropy over so many labels."""
    rows, wanted = ScoreRows(), trainer.options.scores is not None
    predicted: list[Tensor] = []
    given: list[Tensor] = []
    right: list[Tensor] = []
    xent = labels = 0.0
    with evaluating(trainer.classifier, trainer.aux):
        for batch, (logits, aux_logits) in outputs(
            WHERE, loader, trainer.classifier, trainer.aux, autocast=trainer.autocast
        ):
            found, there = label_scores(aux_logits, batch.labels), labelled(aux_logits, batch.labels)
            xent += float(found["xent"][there].sum())
            labels += int(there.sum())
            if wanted:
                rows.add(WHERE, batch, found, aux_logits)
            predicted.append(predicted_classes(logits, batch.labels).cpu().flatten())  # batches may differ in T
            given.append(given_classes(logits, batch.labels).cpu().flatten())
            if truth is not None and batch.ids is not None:
                right.append(torch.as_tensor(_at(truth, batch.ids)).flatten())
    pieces = gathered([predicted, given, right])
    of_all = [torch.cat([part for rank in pieces for part in rank[k]]) for k in range(2 if truth is None else 3)]
    xent, labels = total([xent, labels], trainer.device)
    counts = memorised_counts(*of_all)
    if not wanted:
        return None, counts, xent, labels
    scores = rows.scores(WHERE, main="limit_distance")
    if trainer.options.scores == "ema":
        scores = _with_means(scores, trainer.epoch_scores.ids, trainer.epoch_scores.values)
    return scores, counts, xent, labels


def _aux_xent(trainer: "LimitTrainer", loader: Loader) -> tuple[float, float]:
    """The auxiliary's summed cross-entropy on a loader, over so many labels."""
    xent = labels = 0.0
    with evaluating(trainer.aux):
        for batch, (logits,) in outputs(WHERE, loader, trainer.aux, autocast=trainer.autocast):
            there = labelled(logits, batch.labels)
            xent += float(label_scores(logits, batch.labels)["xent"][there].sum())
            labels += int(there.sum())
    xent, labels = total([xent, labels], trainer.device)
    return xent, labels


def _at(truth: np.ndarray, ids: Tensor) -> np.ndarray:
    """Right labels of the samples ``ids``."""
    if len(ids) and int(ids.max()) >= len(truth):
        raise DataError(
            f"{WHERE}: true_labels must have an entry for every id; got {len(truth)} for id {int(ids.max())}. "
            "Index it by id."
        )
    return truth[ids.numpy()]


def _with_means(scores: Scores, ids: np.ndarray, means: np.ndarray) -> Scores:
    """The scores of the samples met in training, with their means over epochs."""
    met = np.isin(scores.index, ids)
    if not met.any():
        raise DataError(
            f"{WHERE}: eval_loader must hold samples of the training, by id; got none of them. Give both loaders the "
            "same ids."
        )
    columns = {name: dataclasses.replace(column, values=column.values[met]) for name, column in scores.columns.items()}
    kept = Scores(index=scores.index[met], columns=columns, main=scores.main)
    return with_ema(kept, means[np.searchsorted(ids, kept.index)])
