"""From the options ridge, time, lr, steps and their ``_without`` twins to pairs of trainings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from infotorch.errors import ConfigError, ShapeError
from infotorch.measures.training import Training

WHERE = "unique_information"  # first in every refusal of leaving out
Numbers = float | Sequence[float] | torch.Tensor | Any  # or an array


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Trainings with and without, one pair for each time; options as of ``unique_information_from_kernel``."""

    full: list[Training]
    """[times]."""
    without: list[list[Training]]
    """[groups][times]; one entry where all sets share it."""

    def for_set(self, g: int) -> list[Training]:
        return self.without[g if len(self.without) > 1 else 0]


def schedule(
    *,
    ridge: float,
    ridge_without: Numbers | None,
    time: Numbers | None,
    time_without: Numbers | None,
    lr: float | None,
    lr_without: Numbers | None,
    steps: Numbers | None,
    num_groups: int | None = None,
) -> Schedule:
    """Check the options and pair the trainings.

    Raises:
        ConfigError: A value is out of range, or two options contradict each other.
        ShapeError: The lengths of two options disagree.
    """
    if lr is None and steps is not None:
        raise ConfigError(f"{WHERE}: steps needs lr; got steps={steps} without lr. Give both, or time.")
    if lr is not None and steps is None:
        raise ConfigError(f"{WHERE}: lr needs steps; got lr={lr} without steps. Give both, or time.")
    if lr is None and lr_without is not None:
        raise ConfigError(f"{WHERE}: lr_without needs lr; got lr_without={lr_without} alone. Give lr and steps.")
    if lr is not None and not (time is None and time_without is None):
        raise ConfigError(f"{WHERE}: time is of gradient flow, lr and steps of gradient descent; got both. Give one.")
    full_ridge = _scalar("ridge", ridge)
    ridges = _per_set("ridge_without", full_ridge if ridge_without is None else ridge_without, num_groups)
    for name, value in (("ridge", full_ridge), *(("ridge_without", r) for r in ridges)):
        _demand(math.isfinite(value) and value >= 0, name, "finite and at least 0", value)
    full_lr: float | None = None
    lrs: Sequence[float | None] = [None]
    if lr is None:
        durations = _list("time", math.inf if time is None else time)
        later = _durations_without(durations, time_without, num_groups)
        for name, values in (("time", durations), *(("time_without", d) for d in later)):
            for value in values:
                _demand(value >= 0, name, "at least 0", value)
    else:
        durations = _list("steps", steps)
        later = [durations]
        for value in durations:
            whole = value >= 0 and (value == math.inf or value == int(value))  # NaN has no int
            _demand(whole, "steps", "a whole number, at least 0", value)
        full_lr = _scalar("lr", lr)
        lrs = numbers = _per_set("lr_without", full_lr if lr_without is None else lr_without, num_groups)
        for name, value in (("lr", full_lr), *(("lr_without", number) for number in numbers)):
            _demand(math.isfinite(value) and value > 0, name, "finite and above 0", value)
    count = max(len(ridges), len(later), len(lrs))
    return Schedule(
        full=[Training(ridge=full_ridge, duration=d, lr=full_lr) for d in durations],
        without=[
            [Training(ridge=ridges[g % len(ridges)], duration=d, lr=lrs[g % len(lrs)]) for d in later[g % len(later)]]
            for g in range(count)
        ],
    )


def _demand(holds: bool, name: str, what: str, value: float) -> None:
    if not holds:
        raise ConfigError(f"{WHERE}: {name} must be {what}; got {value}. Correct {name}.")


def _tensor(name: str, value: Numbers) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        value = value.tolist()  # any strides, byte order and rights
    try:
        return torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{WHERE}: {name} must be a number or numbers; got {value!r}. Give floats.") from error


def _list(name: str, value: Numbers) -> list[float]:
    numbers = _tensor(name, value)
    if numbers.ndim > 1 or numbers.numel() == 0:
        raise ShapeError(
            f"{WHERE}: {name} must be a number or a list of them; got shape {tuple(numbers.shape)}. "
            "Give one value a time."
        )
    return [float(number) for number in numbers.reshape(-1)]


def _scalar(name: str, value: Any) -> float:
    numbers = _list(name, value)
    if len(numbers) != 1:
        raise ShapeError(f"{WHERE}: {name} must be one number; got {len(numbers)}. Call once for each.")
    return numbers[0]


def _per_set(name: str, value: Numbers, num_groups: int | None) -> list[float]:
    numbers = _list(name, value)
    if len(numbers) not in (1, num_groups):
        groups = "without groups" if num_groups is None else f"for {num_groups} groups"
        raise ShapeError(
            f"{WHERE}: {name} must be one number, or one a group; got {len(numbers)} {groups}. "
            "Give as many as there are groups."
        )
    return numbers


def _durations_without(durations: list[float], value: Numbers | None, num_groups: int | None) -> list[list[float]]:
    if value is None:
        return [durations]
    numbers = _tensor("time_without", value)
    times = len(durations)
    if numbers.ndim == 2 and num_groups is not None and numbers.shape == (times, num_groups):
        return numbers.mT.tolist()
    if numbers.ndim > 1 or numbers.numel() != times:
        raise ShapeError(
            f"{WHERE}: time_without must have the length of time, {times} (or [{times}, groups]); "
            f"got shape {tuple(numbers.shape)}. Give one value for each time."
        )
    return [[float(number) for number in numbers.reshape(-1)]]
