"""What the report shows of a LIMIT training besides the scores."""

import dataclasses
from typing import Any

import numpy as np

from infotorch.data import Samples
from infotorch.measures import detection, fano_min_error
from infotorch.pipeline.label_noise import Noise
from infotorch.table import Estimate, Scores
from infotorch.train import LimitResult
from infotorch.train.options import LimitOptions
from infotorch.train.plain import PlainResult

__all__ = ["notes_of"]

SHOWN = ("epoch", "acc_train", "val_acc", "val_stderr", "test_acc", "nats", "nats_of", "warm_up")
CHANCE = 1.5
"""So many times the accuracy of guessing tell nothing yet."""
MAX_CLASSES = 1000
"""Beyond so many the confusion of labels is left out: it has their square of numbers."""


def notes_of(
    settings: LimitOptions,
    noise: Noise,
    given: np.ndarray,
    num_classes: int,
    held: Samples | None,
    test: Samples | None,
    scores: Scores,
    flipped: np.ndarray | None,
    result: LimitResult,
    plain: PlainResult | None,
) -> dict[str, Any]:
    """Notes by name.

    Args:
        settings: Of the training.
        noise: What was done to the labels.
        given: Labels that were trained on, [N].
        num_classes: C.
        held: Validation samples.
        test: Test samples.
        scores: Of the labels, and ``suggested_label``.
        flipped: Which labels are wrong, bool [N]; ``None`` where nobody knows.
        result: Of LIMIT.
        plain: Of plain cross-entropy, where it was trained too.
    """
    suggested = scores["suggested_label"].values
    differ = suggested != given
    info, last = result.info, result.history[-1]
    found = None if flipped is None else detection(scores.values, flipped)
    named: list[Estimate | None] = [_accuracy(last, settings), *_memory(info.memorised_count, info.mislabelled)]
    if found is not None and found.auroc is not None:
        named.append(_diagnostic("AUROC of the label score for wrong labels", found.auroc))
    named.append(_diagnostic("given labels that are predicted, share", info.acc_noisy_labels))
    figures = [figure for figure in named if figure is not None][:4]
    law = {"gaussian": "squared mismatch", "laplace": "absolute mismatch", "ce": "cross-entropy"}[settings.q]
    passed = "means of gradients" if settings.lam is None else f"gradients with noise of rate {settings.lam:g}"
    text = f"{int(differ.sum()):,} of {len(given):,} labels differ from what the network predicts"
    if flipped is not None:
        text += f"; of the {int(flipped.sum()):,} wrong ones {int((differ & flipped).sum()):,} are among them"
    if info.acc_noisy_labels < CHANCE / num_classes:
        text += (
            f". Of all labels it predicts {100 * info.acc_noisy_labels:.0f} %, hardly more than by chance: train it "
        )
        text += "longer, or otherwise, before you look at single ones"
    return {
        "title": {
            "sentence": f"LIMIT on {len(given):,} samples for {len(result.history)} epochs: {law}, beta "
            f"{settings.beta:g}, {passed}"
        },
        "finding": {"text": text + "."},
        "figures": [figure.to_dict() for figure in figures],
        "limit": {
            "settings": settings.config(),
            "noise": noise.name,
            "num_train": len(given),
            "num_val": 0 if held is None else len(held),
            "num_test": 0 if test is None else len(test),
            "history": [{key: entry[key] for key in SHOWN} for entry in result.history],
            "acc_noisy_labels": info.acc_noisy_labels,
            "fano": _fano(noise, num_classes, info.info_lower_nats),
            "estimates": [estimate.to_dict() for estimate in info.estimates()],
            "memorised": {"count": info.memorised_count, "mislabelled": info.mislabelled, "recovered": info.recovered},
            "detection": None if found is None else dataclasses.asdict(found),
            "confusion": _confusion(given, suggested, num_classes),
            "compared": None if plain is None else _compared(plain, flipped),
        },
    }


def _fano(noise: Noise, num_classes: int, info_lower: float | None) -> dict[str, float] | None:
    """What the observed error stands beside: the least one that weights without label information have."""
    if noise.entropy is None or info_lower is None:
        return None
    return {"min_error": fano_min_error(noise.entropy, 0.0, num_classes), "info_lower": info_lower}


def _accuracy(entry: dict[str, Any], settings: LimitOptions) -> Estimate | None:
    """The accuracy that says most, at the last epoch."""
    if entry["test_acc"] is not None:
        return Estimate(name="accuracy on test labels, last epoch", value=entry["test_acc"])
    if entry["val_acc"] is not None:
        return Estimate(
            name="accuracy on noisy validation labels, last epoch", value=entry["val_acc"], stderr=entry["val_stderr"]
        )
    return None


def _memory(count: int | None, mislabelled: int | None) -> list[Estimate]:
    if count is None or not mislabelled:
        return []
    return [_diagnostic("wrong labels memorised, share", count / mislabelled)]


def _diagnostic(name: str, value: float) -> Estimate:
    return Estimate(name=name, value=value, kind="diagnostic")


def _confusion(given: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[list[int]] | None:
    """Training samples by given label (row) and predicted one (column)."""
    if num_classes > MAX_CLASSES:
        return None
    counts = np.bincount(given * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def _compared(plain: PlainResult, flipped: np.ndarray | None) -> dict[str, Any]:
    found = None if flipped is None else detection(plain.losses, flipped)
    return {
        "name": "cross-entropy",
        "history": [{key: entry[key] for key in SHOWN if key in entry} for entry in plain.history],
        "memorised": {
            "count": plain.counts.memorised_count,
            "mislabelled": plain.counts.mislabelled,
            "recovered": plain.counts.recovered,
        },
        "acc_noisy_labels": plain.counts.acc_noisy_labels,
        "detection": None if found is None else dataclasses.asdict(found),
    }
