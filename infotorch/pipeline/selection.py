"""Which samples stay: how many, of which class, and the most informative of each; arrays alone."""

import itertools

import numpy as np
from torch import Tensor

from infotorch.errors import ConfigError

__all__ = ["apportioned", "classes_of", "dropped", "highest", "num_kept"]

WHERE = "summarize"


def num_kept(keep: float | int, num_samples: int) -> int:
    """How many of N samples ``keep`` says: a share in (0, 1), rounded, or a count in 1..N-1.

    Raises:
        ConfigError: It is neither, or leaves none or all of the samples.
    """
    N = num_samples
    if isinstance(keep, (int, np.integer)) and not isinstance(keep, bool):
        count = int(keep)
    elif isinstance(keep, (float, np.floating)) and 0 < keep < 1:
        count = round(float(keep) * N)
    else:
        raise ConfigError(
            f"{WHERE}: keep must be a share between 0 and 1 or a whole number of samples; got {keep!r}. "
            "Write 0.3 for three tenths, 300 for so many."
        )
    if not 1 <= count < N:
        raise ConfigError(
            f"{WHERE}: keep must leave at least 1 of {N:,} samples and drop at least 1; got {keep!r}, which leaves "
            f"{count:,}. Choose a number from 1 to {N - 1:,}, or the share of it."
        )
    return count


def dropped(num_samples: int, count: int, rounds: int) -> list[int]:
    """How many leave in each round until ``count`` of N are left: shares that differ by one at most, [rounds].

    Raises:
        ConfigError: There is no round, or one would drop nobody.
    """
    total = num_samples - count
    if not isinstance(rounds, (int, np.integer)) or isinstance(rounds, bool) or not 1 <= rounds <= total:
        raise ConfigError(
            f"{WHERE}: rounds must be a whole number from 1 to {total:,}, the samples to drop, so that each round "
            f"drops one; got {rounds!r}. Lower rounds."
        )
    edges = [total * r // rounds for r in range(rounds + 1)]
    return [stop - start for start, stop in itertools.pairwise(edges)]


def apportioned(counts: np.ndarray, total: int) -> np.ndarray:
    """``total`` seats in proportion to ``counts`` by largest remainders: less than one away from the exact shares.

    Args:
        counts: Members of each class, int64 [C].
        total: At most all members.

    Returns:
        int64 [C] that adds up to ``total``, never above ``counts``; of equal remainders the earlier class's goes up.
    """
    everyone = max(1, int(counts.sum()))
    seats, rest = counts * total // everyone, counts * total % everyone
    seats[np.argsort(-rest, kind="stable")[: total - int(seats.sum())]] += 1
    return seats


def highest(values: np.ndarray, classes: np.ndarray, quotas: np.ndarray) -> np.ndarray:
    """The ``quotas[c]`` highest values of each class c; of equal values the earlier ones.

    Args:
        values: float64 [N], none of them nan.
        classes: int64 [N], in 0..C-1.
        quotas: int64 [C], at most the members of each class.

    Returns:
        Places, int64 [sum of quotas], increasing.
    """
    order = np.lexsort((-values, classes))  # stable: equal values stay in the order of the data
    counts = np.bincount(classes, minlength=len(quotas))
    rank = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < np.repeat(quotas, counts)])


def classes_of(y: Tensor) -> np.ndarray | None:
    """The class of every label, int64 [N], or None where labels are no classes.

    Classes are whole numbers [N], zeros and ones in floating point [N] or [N, 1], or one-hot rows [N, C].
    """
    y = y.detach().cpu()
    if not y.is_floating_point():
        return y.long().numpy() if y.dim() == 1 else None
    flat = y[:, None] if y.dim() == 1 else y
    if flat.dim() != 2 or not bool(((flat == 0) | (flat == 1)).all()):
        return None
    if flat.shape[1] == 1:
        return flat[:, 0].long().numpy()
    return flat.argmax(1).numpy() if bool((flat.sum(1) == 1).all()) else None
