"""Label noise as a user names it, and the labels that it gives."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError, unknown
from infotorch.measures.digest import digest
from infotorch.train.noise import flip_labels, transition_matrix

__all__ = ["KINDS", "Noise", "noise_of"]

KINDS = ("uniform", "pair", "symmetric_inclusive", "cifar10_asym")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What is done to labels before a training."""

    name: str
    """As the user named it: "uniform:0.4", "file", "none"."""
    transition: Tensor | None = None
    """Probabilities of given labels by right label, [C, C]."""
    given: Tensor | None = None
    """The labels themselves, int64 [N]."""
    entropy: float | None = None
    """Mean entropy of a given label whose right one is known, in nats, where the noise is a model."""

    def labels(self, y: Tensor, seed: int) -> Tensor:
        """The labels to train on, for the right ones ``y`` [N]."""
        if self.transition is not None:
            return flip_labels(y, self.transition, seed=seed)[0]
        return y if self.given is None else self.given

    def facts(self) -> dict[str, Any]:
        """What the labels follow from, besides the right ones and the seed."""
        return {"name": self.name, "given": None if self.given is None else digest([self.given])}


def noise_of(where: str, noise: str | Tensor | np.ndarray | None, y: Tensor, num_classes: int) -> Noise:
    """The noise that was named, checked against the labels ``y`` [N].

    Raises:
        ConfigError: An unknown model or no rate.
        DataError: The file, or the labels given, aren't one whole number for each of ``y``.
    """
    if noise is None:
        return Noise(name="none")
    if not isinstance(noise, str):
        return Noise(name="labels", given=_checked(where, np.asarray(noise), len(y), "the labels given as noise"))
    kind, colon, rest = noise.partition(":")
    if kind == "file" and rest:
        return Noise(name="file", given=_checked(where, _read(where, Path(rest)), len(y), rest))
    if kind not in KINDS:
        raise unknown(where, "noise", kind, [*KINDS, "file"])
    try:
        rate = float(rest) if colon else math.nan
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        raise ConfigError(f"{where}: noise must be {kind}:RATE with a rate in [0, 1]; got {noise!r}. Write {kind}:0.4.")
    T = transition_matrix(kind, num_classes, rate)  # type: ignore[arg-type]  # one of KINDS
    entropies = -torch.where(T > 0, T * T.log(), 0.0).sum(1)
    return Noise(name=f"{kind}:{rate:g}", transition=T, entropy=float(entropies[y.clamp(0, num_classes - 1)].mean()))


def _read(where: str, path: Path) -> np.ndarray:
    """Labels from an .npy array, or a text of one whole number a line."""
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.array([int(line) for line in path.read_text().split()], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{where}: {path} must hold labels, an .npy array or one whole number a line; got {str(error)[:80]!r}. "
            "Write it with numpy.save."
        ) from error


def _checked(where: str, labels: np.ndarray, N: int, what: str) -> Tensor:
    if labels.shape != (N,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: {what} must be one whole number for each of {N} samples; got {labels.dtype} "
            f"{list(labels.shape)}. Give the labels in the order of the data."
        )
    return torch.as_tensor(labels.astype(np.int64))
