"""Is a summary worth training on? Accuracies after training on it, on as many random samples, and on all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from infotorch.data import Samples, samples_of
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures.measure import Progress
from infotorch.pipeline.limit_training import select
from infotorch.pipeline.repeats import confidence, mean_of
from infotorch.pipeline.selection import classes_of, highest
from infotorch.pipeline.summarizing import Summary
from infotorch.table import Estimate

__all__ = ["Comparison", "compare_summary"]

WHERE = "compare_summary"
SURE = 0.95
"""Confidence from which on a difference is called one: of summaries that are no better and no worse, 5 % are."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracies in [0, 1], one a repeat: the same repeat has the same seed on kept, random and all samples."""

    kept: tuple[float, ...]
    """Trained on the summary."""
    random: tuple[float, ...]
    """Trained on as many random samples, others in each repeat."""
    all: tuple[float, ...]
    """Trained on all samples."""

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """Kept against random samples: undecided where a t test of their differences errs above 5 %, or of one repeat.

        So many standard errors are needed: 12.7 of 2 repeats, 4.3 of 3, 2.8 of 5, 2.3 of 10.
        """
        difference = self.estimates()["kept less random"]
        stderr, repeats = difference.stderr, len(self.kept)
        if stderr is None or confidence(difference.value, stderr, repeats) <= SURE:
            return "undecided"
        return "better" if difference.value > 0 else "worse"

    def estimates(self) -> dict[str, Estimate]:
        """Means over repeats with standard errors: ``kept``, ``random``, ``all``, and ``kept less random`` in pairs."""
        pairs = [kept - other for kept, other in zip(self.kept, self.random, strict=True)]
        each = {"kept": self.kept, "random": self.random, "all": self.all, "kept less random": pairs}
        means = {name: mean_of(values) for name, values in each.items()}
        return {name: Estimate(name=f"accuracy, {name}", value=m, stderr=error) for name, (m, error) in means.items()}

    def __str__(self) -> str:
        """The verdict in a sentence, and what to do where it is bad."""
        found = self.estimates()["kept less random"]
        repeats = len(self.kept)
        error = "" if found.stderr is None else f" ± {found.stderr:.3f}"
        by = f"accuracy {found.value:+.3f}{error}, mean of {repeats} repeat{'s' if repeats > 1 else ''}"
        if self.verdict == "better":
            return f"The kept samples are better to train on than as many random ones: {by}."
        if self.verdict == "worse":
            return (
                f"The kept samples are WORSE to train on than as many random ones: {by}. Keep more, score in more "
                "rounds, look for wrong labels first, or keep random samples."
            )
        todo = "Repeat it." if repeats == 1 else "Nothing speaks for the summary here; more repeats may tell."
        return f"The kept samples can't be told from as many random ones: {by}. {todo}"


def compare_summary(
    summary: Summary,
    data: Any,
    accuracy: Callable[[Samples, int], float],
    *,
    repeats: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Accuracies of networks trained on what a summary keeps, on as many random samples, and on all.

    Args:
        summary: Of ``data``.
        data: What was summarized, whatever ``infotorch.data.samples_of`` takes.
        accuracy: ``fn(samples, seed)`` trains a network from its start on the samples and returns its accuracy on test
            samples that neither training nor scoring has seen; :func:`retrain_accuracy` does so for a task.
        repeats: Networks of each kind, with seeds ``seed``, ``seed + 1``, ...
        seed: Of the first repeat. The random samples of a repeat are drawn by its seed, from each class as many as the
            summary keeps where that is balanced.
        progress: Called with stage, trainings done and trainings in all.

    Raises:
        ConfigError: ``repeats`` is below 1.
        DataError: The data is not what was summarized.
        NumericsError: An accuracy lies outside [0, 1].
    """
    if repeats < 1:
        raise ConfigError(f"{WHERE}: repeats must be at least 1; got {repeats}. Choose 5.")
    samples = samples_of(data)
    if samples.ids != summary.ids:
        raise DataError(
            f"{WHERE}: data must be the {len(summary.ids):,} samples that were summarized; got {len(samples):,} whose "
            "ids are others. Pass the same data."
        )
    found: dict[str, list[float]] = {"kept": [], "random": [], "all": []}
    for repeat in range(repeats):
        drawn = _drawn(summary, samples, seed + repeat)
        for name, places in (("kept", summary.kept), ("random", drawn), ("all", None)):
            part = samples if places is None else select(samples, torch.from_numpy(places))
            value = float(accuracy(part, seed + repeat))
            if not 0 <= value <= 1:
                raise NumericsError(
                    f"{WHERE}: accuracy must lie in [0, 1]; got {value} trained on {len(part):,} samples. "
                    "Return the share of right predictions."
                )
            found[name].append(value)
            if progress:
                progress("retraining", sum(map(len, found.values())), 3 * repeats)
    return Comparison(**{name: tuple(values) for name, values in found.items()})


def _drawn(summary: Summary, samples: Samples, seed: int) -> np.ndarray:
    """As many random places as the summary keeps, of each class if that is balanced, int64 [K]."""
    N = len(samples)
    labels = classes_of(samples.y) if summary.balanced else None
    _, classes = np.unique(np.zeros(N) if labels is None else labels, return_inverse=True)
    values = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    return highest(values, classes, np.bincount(classes[summary.kept], minlength=int(classes.max()) + 1))
