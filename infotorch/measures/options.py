"""The options of unique information, checked before any work."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from infotorch.errors import ConfigError, check_choice
from infotorch.measures.self_scores import ALSO

if TYPE_CHECKING:
    from infotorch.measures.unique_information import UniqueInformation

__all__ = ["asked_beside", "check_options", "contradiction", "is_several", "several"]

CHOICES = {
    "space": ("weights", "functions", "both"),
    "loss": ("mse", "cross_entropy_ggn"),
    "convention": ("mean", "sum", "reference"),
    "form": ("auto", "dual", "primal"),
    "sketch": ("sjlt", "kron"),
    "outputs": ("full", "trace"),
}


def check_options(measure: "UniqueInformation") -> None:
    """Raise ConfigError for an option that is out of range or contradicts another."""
    for option, valid in CHOICES.items():
        check_choice("UniqueInformation", option, getattr(measure, option), valid)
    if measure.dim is not None and measure.form == "dual":
        raise contradiction("dim belongs to form='primal'", f"dim={measure.dim} with form='dual'", "Leave it out")
    if measure.dim is not None and not (isinstance(measure.dim, int) and 1 <= measure.dim <= 2**31):
        raise contradiction("dim must be a whole number from 1 to 2^31", repr(measure.dim), "Give 1024 or more")
    if not 0 <= measure.seed < 2**64:
        raise contradiction("seed must be 0 to 2^64 - 1", measure.seed, "Take it modulo 2^64")
    if measure.form == "primal" and measure.outputs == "trace":
        raise contradiction("outputs='trace' is of form='dual'", "form='primal'", "Leave one of them out")
    if measure.space != "weights" and measure.test_data is None:
        raise contradiction(f"space={measure.space!r} needs test_data", "none", "Give test_data, inputs [M, ...]")
    if not (math.isfinite(measure.l2) and measure.l2 >= 0):
        raise contradiction("l2 must be a finite number, at least 0", measure.l2, "Correct l2")
    if not (math.isfinite(measure.sigma) and measure.sigma > 0):
        raise contradiction("sigma must be a finite number above 0", measure.sigma, "Correct sigma")
    if measure.models is not None and not len(measure.models):
        raise contradiction("models must name at least one network", "none", "Leave it out for the task's own")
    _check_also(measure)
    _check_times(measure)
    if measure.loss == "cross_entropy_ggn":
        if measure.lr is not None or measure.time is not None:
            raise contradiction(
                "one Newton step has no time", "lr or time with loss='cross_entropy_ggn'", "Leave it out"
            )
        if not measure.l2 > 0:
            raise contradiction(
                "l2 must be above 0 for loss='cross_entropy_ggn'", measure.l2, "Give the l2 of training"
            )
        if measure.outputs == "trace" or measure.layers == "last":
            raise contradiction(
                "loss='cross_entropy_ggn' needs the whole kernel", "outputs='trace' or layers='last'",
                "Name the last layer's parameters in layers=[...]",
            )  # fmt: skip


def _check_also(measure: "UniqueInformation") -> None:
    asked = asked_beside(measure.also)
    for name in asked:
        check_choice("UniqueInformation", "also", name, ALSO)
    if len(set(asked)) < len(asked):
        raise contradiction("entries of also must differ", asked, "Name each once")
    if asked and measure.groups is not None:
        raise contradiction("self-scores are of single samples", "also with groups", "Leave one of them out")
    if asked and measure.l2 == 0 and measure.form != "primal":
        raise contradiction(
            "also needs l2 > 0, for a Gauss-Newton matrix that has an inverse", "l2=0",
            "Give l2, or form='primal' with fewer features than the samples span",
        )  # fmt: skip


def asked_beside(also: str | Sequence[str] | None) -> list[str]:
    """The self-scores asked for."""
    return [also] if isinstance(also, str) else list(also or ())


def _check_times(measure: "UniqueInformation") -> None:
    if (measure.lr is None) != (measure.steps is None):
        got = "lr without steps" if measure.steps is None else "steps without lr"
        raise contradiction("lr and steps go together", got, "Give both, or time alone")
    if measure.lr is not None and measure.time is not None:
        raise contradiction("either time or lr with steps must be given", "both", "Time is of flow, steps of descent")
    if measure.lr is not None and not (math.isfinite(measure.lr) and measure.lr > 0):
        raise contradiction("lr must be a finite number above 0", measure.lr, "Correct lr")
    for option in ("steps", "time"):
        if getattr(measure, option) is not None and not several(getattr(measure, option)):
            raise contradiction(f"{option} must hold a number", "none", f"Leave {option} out to train to convergence")
        if len(set(several(getattr(measure, option)))) < len(several(getattr(measure, option))):
            raise contradiction(f"{option} must differ", several(getattr(measure, option)), "Name each once")
    for value in several(measure.steps):
        if not (0 <= value < math.inf and value == int(value)):
            raise contradiction("steps must be whole numbers, at least 0", value, "Correct steps")
    for value in several(measure.time):
        if not value >= 0:
            raise contradiction("time must be numbers, at least 0", value, "Correct time; inf is to convergence")


def contradiction(must: str, got: object, todo: str) -> ConfigError:
    return ConfigError(f"UniqueInformation: {must}; got {got}. {todo}.")


def is_several(value: Any) -> bool:
    return value is not None and torch.as_tensor(value).dim() > 0


def several(value: Any) -> list[float]:
    """The numbers of an option that takes one, several or none."""
    return [] if value is None else torch.as_tensor(value, dtype=torch.float64).reshape(-1).tolist()
